"""Questions of one sum with their solutions, as LEMA's recipe finds them, and a tiny model."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from little_apples import DEV, TRAIN

from tlm_jax.data.formatted import register_formats
from tlm_jax.data.record_sets import LoadedRecords
from tlm_jax.data.records import Record
from tlm_jax.data.tasks import unregister

NAME = "little_apples"


@pytest.fixture(scope="session")
def little_apples() -> Iterator[str]:
    """Registers the tasks; returns the data set's name."""
    records = LoadedRecords(NAME, {"train": lambda _: TRAIN, "dev": lambda _: DEV})
    tasks = register_formats(NAME, records)
    yield NAME
    for task in tasks:
        unregister(task.name)


@pytest.fixture
def wrong_of() -> Callable[..., Record]:
    """Returns what makes a wrong path of a question."""

    def make(record: Record, model: str = "m", off: int = 1) -> Record:
        first, second = record.id.split("+")
        wrong = int(record.answer) + off
        return Record(
            f"{record.id}/{model}/0", record.dataset, "train", "numeric", record.question, None,
            record.answer, record.rationale,
        ).with_generated(
            question_id=record.id,
            model=model,
            path=[f"It is {first} + {second} = {wrong}.", f"The answer is {wrong}."],
            wrong_prediction=str(wrong),
        )  # fmt: skip

    return make


@pytest.fixture
def lines(tmp_path) -> Callable[..., Path]:
    """Returns what writes rows as JSON Lines."""

    def write(name: str, rows: list[dict[str, Any]]) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path

    return write
