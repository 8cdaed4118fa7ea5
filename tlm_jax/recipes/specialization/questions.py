"""The questions of a run: those that the teacher is asked, and the development set."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import jax
import numpy as np

from tlm_jax.data.demonstrations import DemonstrationPool
from tlm_jax.data.pipeline.shuffle import chosen
from tlm_jax.data.record_sets import RecordSet
from tlm_jax.data.records import Record, write_records
from tlm_jax.data.run_data import RunData
from tlm_jax.errors import UserError
from tlm_jax.recipes.asking import records_digest
from tlm_jax.recipes.specialization.config import Questions
from tlm_jax.recipes.specialization.rows import records_of


@dataclasses.dataclass(frozen=True)
class QuestionSets:
    """The questions of a run.

    Attributes:
      train: without those of `dev`.
      dev: the development set.
      pool: the records of the training split, to draw demonstrations from.
      left_out: how many questions of the training split are in the development set.
      pool_digest: a hash of the records of the pool; of one without an end, of its name.
    """

    train: tuple[Record, ...]
    dev: tuple[Record, ...]
    pool: DemonstrationPool
    left_out: int
    pool_digest: str


def read_questions(questions: Questions, data: RunData) -> QuestionSets:
    """Reads both sets.

    Raises:
      UserError: no such data set, split or file; a split without an end and no number; or no
        question is left to be learned from.
    """
    records = records_of(questions.data_set)
    dev = _some(records, questions.dev_split, questions.num_dev, "NUM_DEV", questions.seed, data)
    known = {record.question_words() for record in dev}
    read = _some(
        records, questions.train_split, questions.num_train, "NUM_TRAIN", questions.seed, data
    )
    train = tuple(record for record in read if record.question_words() not in known)
    if not train:
        raise UserError(
            f"all {len(read):,} questions of the split {questions.train_split!r} of "
            f"{questions.data_set} are in the development set, the split "
            f"{questions.dev_split!r}: choose another DEV_SPLIT"
        )
    pool = DemonstrationPool(records, questions.train_split)
    size = records.num_records(questions.train_split, data)
    digest = f"{records.name} {questions.train_split}"
    if size is not None:
        every = (records.record(questions.train_split, place, data) for place in range(size))
        digest = records_digest(every)
    return QuestionSets(train, dev, pool, len(read) - len(train), digest)


def write_questions(folder: Path, sets: QuestionSets) -> dict[str, Any]:
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
