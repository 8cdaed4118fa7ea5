"""Models that score, and solutions for them."""

from pathlib import Path

import pytest
from json_lines import write
from scored_solutions import SOLUTIONS, make_model


@pytest.fixture(scope="session")
def llama(tmp_path_factory) -> Path:
    return make_model(tmp_path_factory.mktemp("models") / "llama", "llama_tied_linear_rope")


@pytest.fixture(scope="session")
def t5(tmp_path_factory) -> Path:
    return make_model(tmp_path_factory.mktemp("models") / "t5", "mt5")


@pytest.fixture
def solutions(tmp_path) -> Path:
    return write(tmp_path / "solutions.jsonl", *SOLUTIONS)
