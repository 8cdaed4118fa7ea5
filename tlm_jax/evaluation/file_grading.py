"""Grades the predictions of a JSON Lines file and counts what came of it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tlm_jax.data.records import read_json_lines
from tlm_jax.errors import UserError
from tlm_jax.evaluation import fields
from tlm_jax.evaluation.grading import compare
from tlm_jax.evaluation.numbers import format_number
from tlm_jax.evaluation.rules.rule import Rule


@dataclass(frozen=True)
class FieldNames:
    """Where a file's objects hold what grading needs; dotted names (see `fields.values`)."""

    prediction: str
    gold: str
    group: str | None = None
    label: str | None = None
    options: str | None = None
    published: str | None = None


class GradedItem(NamedTuple):
    """One prediction.

    Attributes:
      where: file and line, and which element of which list.
      id: the object's `id`, or "".
      text: what the model wrote; None where the file has null.
      gold: the gold answer as the file has it.
      gold_answer: the gold answer as the rule reads it; None: it cannot, and nothing is graded.
      extracted: the answer found; None: none.
      correct: whether it is right; None where the gold answer could not be read.
      undecided: why the comparison ended without a verdict, which counts as wrong; or "".
      group: the group's name, or "".
      label: somebody else's verdict on this prediction, or None.
      published: a figure in per cent that the file gives for the group, or None.
    """

    where: str
    id: str
    text: str | None
    gold: str
    gold_answer: str | None
    extracted: str | None
    correct: bool | None
    undecided: str = ""
    group: str = ""
    label: bool | None = None
    published: float | None = None


@dataclass
class Tally:
    """Counts over a group. `graded` are those whose gold answer could be read."""

    count: int = 0
    graded: int = 0
    correct: int = 0
    no_answer: int = 0
    published: float | None = None

    def add(self, item: GradedItem) -> None:
        """Counts one more prediction."""
        self.count += 1
        if item.published is not None:
            self.published = item.published
        if item.correct is not None:
            self.graded += 1
            self.correct += item.correct
            self.no_answer += item.extracted is None

    @property
    def accuracy(self) -> float | None:
        """Share of the graded that is right; None if none is graded."""
        return self.correct / self.graded if self.graded else None


@dataclass
class FileGrades:
    """What came of grading a file: counts, and every prediction that needs a look.

    Of labelled predictions, a false positive is right by the rule and wrong by the label.
    """

    total: Tally = field(default_factory=Tally)
    groups: dict[str, Tally] = field(default_factory=dict)
    labelled: int = 0
    false_positives: list[GradedItem] = field(default_factory=list)
    false_negatives: list[GradedItem] = field(default_factory=list)
    unreadable_golds: list[GradedItem] = field(default_factory=list)
    undecided: list[GradedItem] = field(default_factory=list)

    def add(self, item: GradedItem) -> None:
        """Counts one more prediction, and keeps it if somebody should look at it."""
        self.total.add(item)
        self.groups.setdefault(item.group, Tally()).add(item)
        if item.undecided:
            self.undecided.append(item)
        if item.correct is None:
            self.unreadable_golds.append(item)
        elif item.label is not None:
            self.labelled += 1
            if item.correct and not item.label:
                self.false_positives.append(item)
            elif item.label and not item.correct:
                self.false_negatives.append(item)

    @property
    def agreeing(self) -> int:
        """How many labelled predictions the rule judges as the label does."""
        return self.labelled - len(self.false_positives) - len(self.false_negatives)

    @property
    def mean_of_groups(self) -> float | None:
        """The unweighted mean of the groups' accuracies."""
        known = [tally.accuracy for tally in self.groups.values() if tally.accuracy is not None]
        return sum(known) / len(known) if known else None


def grade_file(path: str | os.PathLike[str], rule: Rule, names: FieldNames) -> FileGrades:
    """Grades every prediction of a file.

    Raises:
      UserError: for a file that cannot be read, a line that is not JSON, a missing field, or a
        value of the wrong kind; it names file and line.
    """
    grades = FileGrades()
    for item in graded_items(path, rule, names):
        grades.add(item)
    if not grades.total.count:
        raise UserError(f"{path}: holds no predictions.")
    return grades


def graded_items(
    path: str | os.PathLike[str], rule: Rule, names: FieldNames
) -> Iterator[GradedItem]:
    """Yields every prediction of a file, graded."""
    for number, row in read_json_lines(path, any_text=True):
        where = f"{path}:{number}"
        for place, value in fields.values(row, names.prediction, where):
            yield _graded(row, place, value, rule, names, where)


def _graded(
    row: dict[str, Any],
    place: fields.Place,
    prediction: object,
    rule: Rule,
    names: FieldNames,
    where: str,
) -> GradedItem:
    def at(name: str | None) -> Any:
        return None if name is None else fields.value_at(row, name, place, where)

    text = None if prediction is None else _text(prediction, names.prediction, where)
    gold_value = at(names.gold)
    gold = "" if gold_value is None else _text(gold_value, names.gold, where)
    options = None if names.options is None else _options(row, names.options, place, where)
    gold_answer = rule.read_gold(gold, options)
    extracted = None if text is None else rule.extract(text, options)
    correct, undecided = None, ""
    if gold_answer is not None:
        correct = False
        if extracted is not None:
            _, correct, undecided = compare(rule, extracted, gold_answer)
    return GradedItem(
        where=where + "".join(f" {name}[{index}]" for name, index in place),
        id=str(row.get("id", "")),
        text=text,
        gold=gold,
        gold_answer=gold_answer,
        extracted=extracted,
        correct=correct,
        undecided=undecided,
        group="" if names.group is None else str(at(names.group)),
        label=_label(at(names.label), names.label, where),
        published=_figure(at(names.published), names.published, where),
    )


def _text(value: object, name: str, where: str) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return format_number(value)
    if isinstance(value, int):
        return str(value)
    raise UserError(f"{where}: {name} must be text or a number, got {type(value).__name__}.")


def _options(
    row: dict[str, Any], name: str, place: fields.Place, where: str
) -> Sequence[str] | None:
    options: Iterable[object] = fields.list_at(row, name, place, where)
    texts = [_text(option, name, where) for option in options if option is not None]
    return texts or None


def _label(value: object, name: str | None, where: str) -> bool | None:
    if value is None or isinstance(value, bool):
        return value
    if value in (0, 1):
        return value == 1
    raise UserError(f"{where}: {name} must be true or false (or 1 or 0), got {value!r}.")


def _figure(value: object, name: str | None, where: str) -> float | None:
    if value is None or isinstance(value, int | float):
        return value
    raise UserError(f"{where}: {name} must be a number, got {value!r}.")
