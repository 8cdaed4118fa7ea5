"""TeacherLM's formats of students: what stands before the answer, and what behind it.

With T for `Q: {question} {options} A:` and ANS for `The answer is ({x}).` these are

    text              T ANS
    manual_mid        T {manual} ANS
    manual_tail       T ANS {manual}
    cot_mid           T Let's think step by step. {cot} ANS
    cot_tail          T ANS Let's think step by step. {cot}
    fundamental_tail  T ANS The fundamental of this question is: {fundamental}
    error_tail        T ANS The common mistakes are: {error}
    outside_tail      cot_tail with the explanation `outside` of another model
    triple            the three tails, three sequences of a record
    c cm cmf fcm m f  one sequence: T ANS, then the named fields in this order
    shuffle           one sequence: T ANS, then all three in an order of the record's own

Training sequences hold all of it; pairs divide it behind T.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from tlm_jax.data.generators.draws import Draws
from tlm_jax.data.records import Record
from tlm_jax.data.teacher_lm.language import FIELDS
from tlm_jax.data.teacher_lm.lines import (
    PUBLISHED,
    Layout,
    answer_sentence,
    explanation,
    has_explanation,
    question_line,
)
from tlm_jax.errors import UserError, nearest

OUTSIDE = "outside"
"""The field with an outside model's explanations."""


@dataclasses.dataclass(frozen=True)
class StudentFormat:
    """One sequence of a record.

    Attributes:
      before: fields before the answer.
      behind: fields behind it.
      shuffled: whether each record has those behind it in an order of its own.
    """

    before: tuple[str, ...] = ()
    behind: tuple[str, ...] = ()
    shuffled: bool = False

    @property
    def fields(self) -> tuple[str, ...]:
        """All fields."""
        return (*self.before, *self.behind)

    def pair(self, record: Record, layout: Layout = PUBLISHED) -> tuple[str, str]:
        """Returns T and what follows it, without the space between.

        Raises:
          UserError: the record lacks a field or an answer.
        """
        behind = self._shuffled(record) if self.shuffled else self.behind
        parts = [
            *(self._field(record, name, layout, layout.mid_marker) for name in self.before),
            answer_sentence(record, layout),
            *(self._field(record, name, layout, True) for name in behind),
        ]
        return question_line(record, layout), " ".join(parts)

    def text(self, record: Record, layout: Layout = PUBLISHED) -> str:
        """Returns the whole sequence."""
        return " ".join(self.pair(record, layout))

    def fits(self, record: Record) -> bool:
        """Returns whether the record has an answer and all fields."""
        return bool(record.answer) and all(has_explanation(record, name) for name in self.fields)

    def _field(self, record: Record, name: str, layout: Layout, marked: bool) -> str:
        text = explanation(record, name)
        if name == "manual":
            marker = layout.manual_marker
        else:
            marker = layout.words(record).markers["cot" if name == OUTSIDE else name]
            marker = marker if marked else ""
        return f"{marker} {text}" if marker else text

    def _shuffled(self, record: Record) -> Sequence[str]:
        draws, left = Draws("order of fields", record.dataset, record.id), list(self.behind)
        return [left.pop(draws.below(len(left))) for _ in self.behind]


_COT, _ERROR, _FUNDAMENTAL = FIELDS
_TAILS = {
    "cot_tail": StudentFormat(behind=(_COT,)),
    "fundamental_tail": StudentFormat(behind=(_FUNDAMENTAL,)),
    "error_tail": StudentFormat(behind=(_ERROR,)),
}
STUDENT_FORMATS: dict[str, tuple[StudentFormat, ...]] = {
    "text": (StudentFormat(),),
    "manual_mid": (StudentFormat(before=("manual",)),),
    "manual_tail": (StudentFormat(behind=("manual",)),),
    "cot_mid": (StudentFormat(before=(_COT,)),),
    **{name: (form,) for name, form in _TAILS.items()},
    "outside_tail": (StudentFormat(behind=(OUTSIDE,)),),
    "triple": tuple(_TAILS.values()),
    "c": (StudentFormat(behind=(_COT,)),),
    "cm": (StudentFormat(behind=(_COT, _ERROR)),),
    "cmf": (StudentFormat(behind=(_COT, _ERROR, _FUNDAMENTAL)),),
    "fcm": (StudentFormat(behind=(_FUNDAMENTAL, _COT, _ERROR)),),
    "m": (StudentFormat(behind=(_ERROR,)),),
    "f": (StudentFormat(behind=(_FUNDAMENTAL,)),),
    "shuffle": (StudentFormat(behind=FIELDS, shuffled=True),),
}
"""By name, the sequences of a record; of several those are made whose fields the record has."""


def student_format(name: str) -> tuple[StudentFormat, ...]:
    """Returns the sequences of a format.

    Raises:
      UserError: there is no such format.
    """
    if name not in STUDENT_FORMATS:
        raise UserError(
            f"no format of students {name!r}.{nearest(name, STUDENT_FORMATS)} "
            f"Known: {', '.join(STUDENT_FORMATS)}."
        )
    return STUDENT_FORMATS[name]


def sequences(name: str, record: Record, layout: Layout = PUBLISHED) -> list[tuple[str, str]]:
    """Returns the pairs of a record in a format.

    Raises:
      UserError: there is no such format; or the record lacks a field of the only sequence, or those
        of all.
    """
    forms = student_format(name)
    if len(forms) == 1:
        return [forms[0].pair(record, layout)]
    found = [form.pair(record, layout) for form in forms if form.fits(record)]
    if not found:
        forms[0].pair(record, layout)  # says what is missing
        raise AssertionError(record.id)
    return found
