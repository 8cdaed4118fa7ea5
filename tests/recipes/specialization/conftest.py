"""A little data set of sums, and what writes dumps of a teacher's solutions of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from little_sums import DATA_DIR, DATA_SET, DEV, TEST, TRAIN

from tlm_jax.data import tasks
from tlm_jax.data.formatted import register_formats
from tlm_jax.data.record_sets import LoadedRecords, Loader
from tlm_jax.data.records import Record
from tlm_jax.data.run_data import RunData
from tlm_jax.runs.cache_teacher.import_config import ImportConfig


@pytest.fixture(scope="session")
def little_sums() -> Iterator[str]:
    """Registers the data set, which is read in a run's directory of data alone."""
    splits = {"train": TRAIN, "dev": DEV, "test": TEST}

    def loader(records: Sequence[Record]) -> Loader:
        def read(data: RunData) -> Sequence[Record]:
            assert data.data_dir == DATA_DIR
            return records

        return read

    records = LoadedRecords(DATA_SET, {name: loader(found) for name, found in splits.items()})
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
