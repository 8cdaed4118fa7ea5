"""The page served in a thread."""

import json_lines
import pytest
import served_ratings


@pytest.fixture
def served(tmp_path):
    """The page with two questions, each explained by three sources."""
    pytest.importorskip("starlette")
    rows = served_ratings.explanations()
    with served_ratings.serving(json_lines.write(tmp_path / "some.jsonl", *rows)) as found:
        yield found
