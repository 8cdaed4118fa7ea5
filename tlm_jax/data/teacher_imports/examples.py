"""Captured and scored solutions as records that tasks train on."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, get_args

from tlm_jax.data.formats import ANSWER_MARKER, FORMATS
from tlm_jax.data.records import Kind, Record, read_records, write_records
from tlm_jax.errors import UserError
from tlm_jax.teacher_cache.steps import solution_key


@dataclasses.dataclass(frozen=True)
class Solution:
    """A teacher's solution of a question.

    Attributes:
      id: of the record.
      question: without its options.
      text: the solution as the teacher wrote it, which is what a student is to write.
      answer: the gold answer; None where there is none.
      kind: of answer.
      options: of a choice.
      question_id: of the question; several solutions may have the same.
      place: for messages.
    """

    id: str
    question: str
    text: str
    answer: str | None = None
    kind: str | None = None
    options: Sequence[str] | None = None
    question_id: str = ""
    place: str = ""


def solution_record(solution: Solution, dataset: str) -> Record:
    """Returns the record of a solution, for `answer` and chain-of-thought formats alike.

    The rationale is the solution without the line of its final answer. Where the chain-of-thought
    formats would not write exactly `solution.text` as targets (another wording of the answer,
    say), a generated field `targets` holds it.

    Raises:
      UserError: the answer is none of its kind.
    """
    kind: Any = solution.kind or ("numeric" if solution.answer else "text")
    if kind not in get_args(Kind):
        kind = "text"  # graded by a rule that is no kind, such as "math"
    if kind == "choice" and not solution.options:
        kind = "text"
    answer = solution.answer or ""
    if kind == "numeric":
        answer = answer.replace(",", "")
    try:
        record = Record(
            id=solution.id,
            dataset=dataset,
            split="train",
            kind=kind,
            question=solution.question,
            options=None if solution.options is None else tuple(solution.options),
            answer=answer,
            rationale=_FINAL_LINE.sub("", solution.text).strip() or None,
            meta={"question_id": solution.question_id} if solution.question_id else {},
        )
    except UserError as error:
        raise UserError(f"{solution.place}: {error}") from None
    if FORMATS["cot_zero_shot"].targets(record) != solution.text:
        record = record.with_generated(targets=solution.text)
    return record


CUT_OFF = frozenset(
    [
        *("length", "max_tokens", "repetition", "content_filter", "abort", "cancelled", "error"),
        *("tool_calls", "function_call", "incomplete", "insufficient_system_resource"),
    ]
)
"""Reasons for which an answer ends before the teacher has solved the question."""


class ExampleFile:
    """The records of a cache's solutions, `examples.jsonl` beside its rows.

    Those that are there stay: a cache may be filled from several sources.
    """

    def __init__(self, directory: Path):
        """Reads what is there."""
        self.path = directory / "examples.jsonl"
        self._records: dict[str, Record] = {}
        self._ids: dict[str, str] = {}
        self.num_new = 0
        if self.path.is_file():
            for record in read_records(self.path):
                self.add(record)
            self.num_new = 0

    def add(self, record: Record) -> None:
        """Takes the record of a solution, once.

        Raises:
          UserError: another solution has its id.
        """
        key = solution_key(record.question, record.options, targets_of(record))
        other = self._ids.setdefault(record.id, key)
        if other != key:
            raise UserError(
                f"{self.path}: two solutions have the id {record.id!r}, and other texts; give "
                "each its own, or use another directory"
            )
        self.num_new += key not in self._records
        self._records.setdefault(key, record)

    def add_all(self, others: ExampleFile) -> None:
        """Takes the records of another file, each solution once.

        Raises:
          UserError: other solutions have their ids.
        """
        for record in others._records.values():
            self.add(record)

    def write(self) -> None:
        """Writes the file whole, if there is anything to write."""
        if self._records:
            write_records(self.path, self._records.values())

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[Record]:
        return iter(self._records.values())

    @property
    def num_with_targets(self) -> int:
        """How many solutions are not what the formats write of their records."""
        return sum("targets" in record.generated for record in self._records.values())


def targets_of(record: Record) -> str:
    """Returns the solution that a record was made of."""
    return record.generated.get("targets") or FORMATS["cot_zero_shot"].targets(record)


_FINAL_LINE = re.compile(rf"(?:^|\n){re.escape(ANSWER_MARKER)}[^\n]*\s*\Z")
