"""Record sets in a format, as the sources of formatted examples that tasks are made of."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from typing import Any

from tlm_jax.data.demonstrations import DemonstrationPool
from tlm_jax.data.formats import FORMATS, Format
from tlm_jax.data.record_sets import RecordSet
from tlm_jax.data.records import Record
from tlm_jax.data.run_data import RunData
from tlm_jax.data.sources import Example, RecordSource
from tlm_jax.data.tasks import Task, register_task
from tlm_jax.data.traits import traits
from tlm_jax.errors import UserError
from tlm_jax.vocabularies import SentencePieceVocabulary, Vocabulary

EMBEDDED_VOCABULARY = SentencePieceVocabulary("asset:word_problems")
"""Comes with the library, so that every task runs before its user has chosen a vocabulary."""


class _OfRecords(RecordSource):
    """Examples made of a record set, read where a run's data are.

    Before `for_run` they are read with what a run has by default, and kept as long as this lives.

    Attributes:
      records: the set.
    """

    def __init__(self, records: RecordSet):
        self.splits = records.splits
        self.records = records
        self._data = RunData()

    def for_run(self, data: RunData) -> RecordSource:
        bound = copy.copy(self)
        bound._data = data
        return bound

    def check_split(self, split: str) -> None:
        self.records.check_split(split)


class FormattedRecords(_OfRecords):
    """The records of a set, each with its inputs and targets in one format.

    Records without a gold answer are left out, and from training splits those that lack the
    rationale a chain-of-thought format needs. In the other splits such a record stays, with the
    answer alone as its targets: it can still be graded. A teacher's solution (the field `targets`)
    can be learned without a gold answer, in training splits and in the split of all records.

    Args:
      records: the record set.
      form: the format.
      pool: where an in-context format draws its demonstrations.
    """

    def __init__(self, records: RecordSet, form: Format, pool: DemonstrationPool | None = None):
        if form.in_context and pool is None:
            raise ValueError(f"{records.name}: an in-context format needs a pool.")
        super().__init__(records)
        self._format = form
        self._pool = pool

    def num_examples(self, split: str) -> int | None:
        self.check_split(split)
        if self.records.num_records(split, self._data) is None:
            return None
        return len(self._indices(split))

    def example(self, split: str, index: int) -> Example:
        self.check_split(split)
        if self.records.num_records(split, self._data) is not None:
            index = self._indices(split)[index]
        record = self.records.record(split, index, self._data)
        demonstrations = ()
        if self._pool is not None and self._format.in_context:
            demonstrations = self._pool.draw(record, self._data, with_rationale=self._format.cot)
        return {
            **carried_fields(record),
            "inputs": self._format.inputs(record, demonstrations),
            "targets": self._targets(record),
        }

    def _targets(self, record: Record) -> str:
        """Returns what the model is to write."""
        written = self._written(record)
        return self._format.targets(record) if written is None else written

    def _written(self, record: Record) -> str | None:
        """Returns a teacher's solution as it wrote it, where the record keeps that."""
        written = record.generated.get("targets") if self._format.cot else None
        return written if isinstance(written, str) else None

    def _indices(self, split: str) -> list[int]:
        """Returns the places of the records that this format can use, found once a run."""

        def find() -> list[int]:
            count = self.records.num_records(split, self._data)
            assert count is not None
            every = [(i, self.records.record(split, i, self._data)) for i in range(count)]
            usable = [i for i, record in every if self._is_usable(record, split)]
            if count and not usable:
                raise UserError(self._nothing_usable(split, any(r.answer for _, r in every)))
            return usable

        return self._data.once((self.records, "usable", self._format, split), find)

    def _is_usable(self, record: Record, split: str) -> bool:
        trains = split.startswith("train")
        if self._written(record) is not None and (trains or split == _ALL):
            return True  # there is a text to learn, whether or not it can be graded
        needs_rationale = self._format.cot and trains
        return bool(record.answer and (record.rationale or not needs_rationale))

    def _nothing_usable(self, split: str, has_answers: bool) -> str:
        where = f"{self.records.name}: no record of the split {split!r} has"
        if has_answers:
            return (
                f"{where} a rationale to train on. Add rationales with a teacher first, or use an "
                "answer-only format."
            )
        remedy = "" if self._format.cot else "; a chain-of-thought format needs none to train"
        return f"{where} an answer: expected a field 'answer'{remedy}."


class MappedRecords(_OfRecords):
    """The records of a set through a function that gives `inputs` and `targets`, and no more.

    The function gets the run's data, too, for prompts that it may have to read.
    """

    def __init__(
        self, records: RecordSet, to_strings: Callable[[Record, RunData], tuple[str, str]]
    ):
        super().__init__(records)
        self._to_strings = to_strings

    def num_examples(self, split: str) -> int | None:
        return self.records.num_records(split, self._data)

    def example(self, split: str, index: int) -> Example:
        record = self.records.record(split, index, self._data)
        inputs, targets = self._to_strings(record, self._data)
        return {**carried_fields(record), "inputs": inputs, "targets": targets}


def carried_fields(record: Record) -> dict[str, str]:
    """Returns what evaluation needs of a record, as strings."""
    return {
        "id": record.id,
        "dataset": record.dataset,
        "kind": record.kind,
        "question": record.question,
        "options_json": json.dumps(record.options, ensure_ascii=False),
        "answer": record.answer,
        "traits_json": json.dumps(traits(record), ensure_ascii=False),
    }


def register_formats(
    name: str,
    records: RecordSet,
    *,
    pool: DemonstrationPool | None = None,
    vocabulary: Vocabulary | None = None,
    description: str = "",
    seqio_options: Mapping[str, Any] | None = None,
) -> tuple[Task, ...]:
    """Registers `{name}_{format}` for each of the four formats.

    Args:
      name: of the data set, in front of the format's name.
      records: its records.
      pool: where demonstrations come from; None: the set's own training split.
      vocabulary: the one used where a run names none; None: the embedded one.
      description: one line for `tlm_jax.inspect --list`.
      seqio_options: further keywords of `seqio.TaskRegistry.add`.
    """
    pool = pool or DemonstrationPool(records)
    return tuple(
        register_task(
            f"{name}_{form.name}",
            FormattedRecords(records, form, pool if form.in_context else None),
            vocabulary=vocabulary or EMBEDDED_VOCABULARY,
            description=f"{description} [{form.name.replace('_', ' ')}]".strip(),
            seqio_options=seqio_options,
        )
        for form in FORMATS.values()
    )


_ALL = "all"
"""The split of all records of a file, whatever split they name."""
