"""A little data set of sums, and what writes dumps of a teacher's solutions of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from little_sums import DATA_SET, DEV, TEST, TRAIN

from tlm_jax.data import tasks
from tlm_jax.data.formatted import register_formats
from tlm_jax.data.record_sets import LoadedRecords
from tlm_jax.runs.cache_teacher.import_config import ImportConfig


@pytest.fixture(scope="session")
def little_sums() -> Iterator[str]:
    """Registers the data set."""
    splits = {"train": TRAIN, "dev": DEV, "test": TEST}
    records = LoadedRecords(DATA_SET, {name: lambda _, r=r: r for name, r in splits.items()})
    registered = register_formats(DATA_SET, records)
    yield DATA_SET
    for task in registered:
        tasks.unregister(task.name)


@pytest.fixture
def dump(tmp_path):
    """Returns what writes a dump and gives the import of it."""

    def write(*questions: str) -> ImportConfig:
        path = tmp_path / "dump.txt"
        path.write_text("".join(questions))
        return ImportConfig("codex", (path,), Path("unused"), "codex")

    return write
