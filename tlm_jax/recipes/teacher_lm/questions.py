"""The questions of a run: those that a teacher enriches, and those that students are asked."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from tlm_jax.data import tasks
from tlm_jax.data.pipeline.shuffle import chosen
from tlm_jax.data.record_sets import RecordSet
from tlm_jax.data.records import Record
from tlm_jax.data.run_data import RunData
from tlm_jax.data.teacher_lm.lines import Layout, as_asked
from tlm_jax.data.teacher_lm.students import OUTSIDE
from tlm_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Questions:
    """Which questions there are.

    Attributes:
      train: data sets that are enriched and learned from, "NAME" (its split `train`) or
        "NAME:SPLIT", whose tasks are called `NAME_{format}`.
      dev: those that choose a student's checkpoint.
      test: those that all formats are compared on.
      num_train, num_dev, num_test: so many of each set; None: all.
      instructions: by data set, what stands before its questions.
      types: by data set, the type of its questions, by which results are told; else a record's
        `meta["type"]`, else the name of the set.
      seed: of the samples.
    """

    train: Sequence[str]
    dev: Sequence[str]
    test: Sequence[str]
    num_train: int | None = None
    num_dev: int | None = None
    num_test: int | None = None
    instructions: Mapping[str, str] = dataclasses.field(default_factory=dict)
    types: Mapping[str, str] = dataclasses.field(default_factory=dict)
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("train", "dev", "test"):
            if not getattr(self, name):
                raise UserError(f"{name.upper()}_SETS is empty: name at least one data set")
            value = getattr(self, f"num_{name}")
            if isinstance(value, int) and value < 1:
                raise UserError(f"NUM_{name.upper()} is {value}, expected at least 1, or None")


@dataclasses.dataclass(frozen=True)
class QuestionSets:
    """The questions of a run, with ids `{data set}:{id}`, as they are asked.

    Attributes:
      train: without those of `dev` and `test`; others are in their place.
      dev: without those of `test`.
      test: the test questions.
      left_out: how many were in a later set.
    """

    train: tuple[Record, ...]
    dev: tuple[Record, ...]
    test: tuple[Record, ...]
    left_out: int


def read_questions(questions: Questions, layout: Layout, data: RunData) -> QuestionSets:
    """Reads all sets.

    Raises:
      UserError: no such data set, split or file; a split without an end and no number; a question
        without options; or none is left to learn from.
    """
    known: set[tuple[str, ...]] = set()
    found: dict[str, tuple[Record, ...]] = {}
    left_out = 0
    for name in ("test", "dev", "train"):
        records, refused = _drawn(questions, name, layout, data, known)
        if not records:
            raise UserError(
                f"every question of {name.upper()}_SETS is in a later set: choose other splits"
            )
        found[name], left_out = records, left_out + refused
        known |= {record.question_words() for record in records}
    return QuestionSets(found["train"], found["dev"], found["test"], left_out)


def type_of(record: Record, types: Mapping[str, str]) -> str:
    """Returns the type of a question, by which results are told."""
    return types.get(record.dataset) or str(record.meta.get("type") or record.dataset)


def records_of(data_set: str) -> RecordSet:
    """Returns the record set of a registered data set.

    Raises:
      UserError: no tasks are called `{data_set}_{format}`, or not of records.
    """
    source = tasks.get_task(f"{data_set}_answer_zero_shot").source
    records = getattr(source, "records", None)
    if records is None:
        raise UserError(f"the tasks of the data set {data_set!r} are not made of records")
    return records


def some_records(
    name: str, default_split: str, count: int | None, setting: str, seed: int, data: RunData
) -> list[Record]:
    """Returns a sample of a data set.

    Args:
      name: "NAME" or "NAME:SPLIT".
      default_split: where none is named.
      count: so many; None: all.
      setting: that says how many, for the error.
      seed: of the sample.
      data: of the run.

    Raises:
      UserError: no such data set or split, or it has no end and no count.
    """
    data_set, _, split = name.partition(":")
    records, split = records_of(data_set), split or default_split
    records.check_split(split)
    size = records.num_records(split, data)
    if size is None and count is None:
        raise UserError(f"the split {split!r} of {data_set} has no end: set {setting}")
    return [records.record(split, int(place), data) for place in chosen(size, count, seed)]


def _drawn(
    questions: Questions, name: str, layout: Layout, data: RunData, known: set[tuple[str, ...]]
) -> tuple[tuple[Record, ...], int]:
    """Returns the questions of a set without those that are known, and how many these were."""
    split = {"dev": "validation"}.get(name, name)
    count, setting = getattr(questions, f"num_{name}"), f"NUM_{name.upper()}"
    more = None if count is None else count + len(known)  # others in the place of known ones
    found, refused = [], 0
    for data_set in dict.fromkeys(getattr(questions, name)):
        own = dataclasses.replace(
            layout, instruction=questions.instructions.get(data_set.partition(":")[0], "")
        )
        drawn = some_records(data_set, split, more, setting, questions.seed, data)
        asked = [_asked(record, own) for record in drawn]
        kept = [record for record in asked if record.question_words() not in known]
        refused += len(asked) - len(kept)
        found += kept[:count]
    if len({record.id for record in found}) < len(found):
        raise UserError(f"{name.upper()}_SETS hold two records with one id: name each set once")
    return tuple(found), refused


def _asked(record: Record, layout: Layout) -> Record:
    """Returns a question as it is asked, without what teachers wrote before."""
    asked = as_asked(record, layout)
    if asked.kind != "choice":
        raise UserError(
            f"record {record.id!r} of {record.dataset!r} has no options, and students are asked "
            "for letters: choose data sets of choices, or of yes and no"
        )
    kept = {k: v for k, v in record.generated.items() if k in ("manual", OUTSIDE)}
    return dataclasses.replace(asked, id=f"{record.dataset}:{record.id}", generated=kept)
