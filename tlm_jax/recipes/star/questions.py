"""The questions of a run of STaR: those of each loop, and the development set."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import jax
import numpy as np

from tlm_jax.data import tasks
from tlm_jax.data.pipeline.shuffle import chosen
from tlm_jax.data.records import Kind, Record, write_records
from tlm_jax.data.run_data import RunData
from tlm_jax.data.sources import Example, RecordSource, option_texts
from tlm_jax.errors import UserError
from tlm_jax.recipes.star.config import QuestionsConfig


@dataclasses.dataclass(frozen=True)
class QuestionSets:
    """The questions of a run.

    Attributes:
      config: which ones.
      source: of the task.
      dev: the development set.
      left_out: how many questions of the training split are in it, as far as they were read.
    """

    config: QuestionsConfig
    source: RecordSource
    dev: tuple[Record, ...]

    def of_loop(self, loop: int) -> tuple[Record, ...]:
        """Returns the questions that loop 1, 2, ... asks, without those of the development set.

        Raises:
          UserError: none is left.
        """
        config, split = self.config, self.config.train_split
        size, count, seed = self.source.num_examples(split), config.num_train, config.sample_seed
        if not config.fresh:
            places = chosen(size, count, seed)
        elif size is None:
            # Of an endless split each loop takes the next ones.
            assert count is not None
            places = np.arange(count) + (loop - 1) * count
        else:
            places = chosen(size, count, seed + loop - 1)
        known = {record.question_words() for record in self.dev}
        read = (self._record(split, int(place)) for place in places)
        kept = tuple(record for record in read if record.question_words() not in known)
        if not kept:
            raise UserError(
                f"all {len(places):,} questions of the split {split!r} of {config.task} are in the "
                f"development set, the split {config.dev_split!r}: choose another DEV_SPLIT"
            )
        return kept

    def _record(self, split: str, place: int) -> Record:
        return record_of(self.source.example(split, place), split, place)


def read_questions(config: QuestionsConfig, data: RunData) -> QuestionSets:
    """Reads the development set, and looks whether there are questions to learn from.

    Raises:
      UserError: no such task, split or file; a split without an end and no number; a question
        without an answer.
    """
    source = tasks.get_task(config.task).source.for_run(data)
    for split, number, name in (
        (config.train_split, config.num_train, "NUM_TRAIN"),
        (config.dev_split, config.num_dev, "NUM_DEV"),
    ):
        source.check_split(split)
        if number is None and source.num_examples(split) is None:
            raise UserError(f"the split {split!r} of {config.task} has no end: set {name}")
    size = source.num_examples(config.dev_split)
    places = chosen(size, config.num_dev, config.sample_seed)
    split = config.dev_split
    dev = tuple(record_of(source.example(split, int(n)), split, int(n)) for n in places)
    return QuestionSets(config, source, dev)


def record_of(example: Example, split: str, place: int) -> Record:
    """Returns the record of a task's example; its traits are its `meta`.

    Raises:
      UserError: it has no question or no answer.
    """
    for name in ("question", "answer", "kind"):
        if not example.get(name):
            raise UserError(
                f"example {place} of the split {split!r} has no {name}, without which nothing can "
                "be asked and graded"
            )
    return Record(
        id=str(example.get("id") or f"{split}-{place}"),
        dataset=str(example.get("dataset", "")),
        split=split,
        kind=cast(Kind, str(example["kind"])),
        question=str(example["question"]),
        options=option_texts(example) or None,
        answer=str(example["answer"]),
        meta=json.loads(str(example.get("traits_json", "null"))) or {},
    )


def write_questions(folder: Path, sets: Mapping[str, Sequence[Record]]) -> dict[str, Any]:
    """Writes each set as `NAME.jsonl`; returns how many there are of each."""
    for name, records in sets.items():
        if jax.process_index() == 0:
            write_records(folder / f"{name}.jsonl", records)
    return {name: len(records) for name, records in sets.items()}
