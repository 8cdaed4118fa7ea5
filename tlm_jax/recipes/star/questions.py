"""The questions of a run of STaR: those of each loop, and the development set."""

from __future__ import annotations

import collections
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
from tlm_jax.evaluation.contamination import overlaps, question_text
from tlm_jax.evaluation.question_sets import named_questions
from tlm_jax.recipes.star.config import QuestionsConfig


@dataclasses.dataclass(frozen=True)
class LoopQuestions:
    """The questions of a loop.

    Attributes:
      asked: in their order.
      left_out: how many others were drawn and are not asked, by the set that holds them.
    """

    asked: tuple[Record, ...]
    left_out: Mapping[str, int]


@dataclasses.dataclass(frozen=True)
class QuestionSets:
    """The questions of a run.

    Attributes:
      config: which ones.
      source: of the task.
      dev: the development set.
      test_sets: by name, questions that are never asked (`evaluation.question_sets`).
    """

    config: QuestionsConfig
    source: RecordSource
    dev: tuple[Record, ...]
    test_sets: Mapping[str, Sequence[str]]

    def of_loop(self, loop: int) -> LoopQuestions:
        """Returns the questions of loop 1, 2, ..., without those of development and test sets.

        Of the development set are those with the same words; of a test set all that overlap with
        one of its questions, as `evaluation.contamination` finds them.

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
        drawn = [self._record(split, int(place)) for place in places]
        reasons = self._reasons(drawn)
        asked = tuple(record for record, reason in zip(drawn, reasons) if reason is None)
        left_out = dict(collections.Counter(filter(None, reasons)).most_common())
        if not asked:
            told = ", ".join(f"{count:,} {reason}" for reason, count in left_out.items())
            raise UserError(
                f"none of {len(drawn):,} questions of the split {split!r} of {config.task} is left "
                f"to learn from ({told}): choose another DEV_SPLIT or fewer TEST_SETS"
            )
        return LoopQuestions(asked, left_out)

    def _reasons(self, drawn: Sequence[Record]) -> list[str | None]:
        """Returns for each question in which set it is; None: in none."""
        known = {record.question_words() for record in self.dev}
        in_dev = (record.question_words() in known for record in drawn)
        reasons = ["in the development set" if found else None for found in in_dev]
        texts = [question_text(record.question, record.options) for record in drawn]
        for name, questions in self.test_sets.items():
            for found in overlaps(texts, questions):
                reasons[found.test] = reasons[found.test] or f"in {name}"
        return reasons

    def _record(self, split: str, place: int) -> Record:
        return record_of(self.source.example(split, place), split, place)


def read_questions(config: QuestionsConfig, data: RunData) -> QuestionSets:
    """Reads the development set, and looks whether there are questions to learn from.

    Raises:
      UserError: no such task, split, file or test set; a split without an end and no number, or
        without questions; a question without an answer.
    """
    source = tasks.get_task(config.task).source.for_run(data)
    for split, number, name, setting in (
        (config.train_split, config.num_train, "NUM_TRAIN", "QUESTIONS_SPLIT"),
        (config.dev_split, config.num_dev, "NUM_DEV", "DEV_SPLIT"),
    ):
        source.check_split(split)
        if number is None and source.num_examples(split) is None:
            raise UserError(f"the split {split!r} of {config.task} has no end: set {name}")
        if source.num_examples(split) == 0:
            raise UserError(
                f"the split {split!r} of {config.task} holds no questions: set {setting} to one "
                "that does, or name that split in some of your records"
            )
    size = source.num_examples(config.dev_split)
    places = chosen(size, config.num_dev, config.sample_seed)
    split = config.dev_split
    dev = tuple(record_of(source.example(split, int(n)), split, int(n)) for n in places)
    test_sets = {name: named_questions(name, data, split="test") for name in config.test_sets}
    return QuestionSets(config, source, dev, test_sets)


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
