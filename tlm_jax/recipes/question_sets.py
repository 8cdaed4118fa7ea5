"""The questions of a run: those that are learned from, and the development set."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import jax
import numpy as np

from tlm_jax.data import tasks
from tlm_jax.data.pipeline.shuffle import chosen
from tlm_jax.data.record_sets import RecordSet
from tlm_jax.data.records import Record, write_records
from tlm_jax.data.run_data import RunData
from tlm_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Questions:
    """Which questions are learned from.

    Attributes:
      data_set: a registered one, whose tasks are called `{data_set}_{format}`.
      train_split: its questions are asked, and its records are solutions to learn from or
        demonstrations.
      dev_split: its questions choose the checkpoint; those of `train_split` among them are left
        out.
      num_train: so many of them; None: all.
      num_dev: so many of these; None: all.
      seed: of the samples.
    """

    data_set: str
    train_split: str = "train"
    dev_split: str = "validation"
    num_train: int | None = None
    num_dev: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("num_train", "num_dev"):
            value = getattr(self, name)
            if isinstance(value, int) and value < 1:
                raise UserError(f"{name.upper()} is {value}, expected at least 1, or None")


@dataclasses.dataclass(frozen=True)
class QuestionSets:
    """The questions of a run.

    Attributes:
      train: without those of `dev`.
      dev: the development set.
      left_out: how many questions of the training split are in the development set.
    """

    train: tuple[Record, ...]
    dev: tuple[Record, ...]
    left_out: int


def records_of(data_set: str) -> RecordSet:
    """Returns the record set of a registered data set.

    Raises:
      UserError: no tasks are called `{data_set}_{format}`, or not of records.
    """
    source = tasks.get_task(f"{data_set}_cot_zero_shot").source
    records = getattr(source, "records", None)
    if not isinstance(records, RecordSet):
        raise UserError(f"DATA_SET is {data_set!r}, whose tasks are not made of records")
    return records


def read_question_sets(questions: Questions, data: RunData) -> QuestionSets:
    """Reads both sets.

    Raises:
      UserError: no such data set, split or file; a split without an end and no number; or no
        question is left to be learned from.
    """
    records = records_of(questions.data_set)
    dev = _some(records, questions.dev_split, questions.num_dev, "NUM_DEV", questions.seed, data)
    known = {record.question_words() for record in dev}
    split, count = questions.train_split, questions.num_train
    read = _some(records, split, count, "NUM_TRAIN", questions.seed, data)
    train = tuple(record for record in read if record.question_words() not in known)
    if not train:
        raise UserError(
            f"all {len(read):,} questions of the split {split!r} of {questions.data_set} are in "
            f"the development set, the split {questions.dev_split!r}: choose another DEV_SPLIT"
        )
    return QuestionSets(train, dev, len(read) - len(train))


def write_question_sets(folder: Path, sets: QuestionSets) -> dict[str, Any]:
    """Writes each set as `NAME.jsonl`; returns the counts."""
    if jax.process_index() == 0:
        write_records(folder / "train.jsonl", sets.train)
        write_records(folder / "dev.jsonl", sets.dev)
    return {"train": len(sets.train), "dev": len(sets.dev), "left_out": sets.left_out}


def _some(
    records: RecordSet, split: str, count: int | None, setting: str, seed: int, data: RunData
) -> tuple[Record, ...]:
    records.check_split(split)
    size = records.num_records(split, data)
    if size is None and count is None:
        raise UserError(f"the split {split!r} of {records.name} has no end: set {setting}")
    places = np.asarray(chosen(size, count, seed))
    return tuple(records.record(split, int(place), data) for place in places)
