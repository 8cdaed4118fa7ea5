"""Curation of generated solutions: which are kept to train on, and why the others are not."""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Literal

from tlm_jax.data.words import words_of
from tlm_jax.errors import UserError
from tlm_jax.evaluation.contamination import overlaps, question_text
from tlm_jax.evaluation.number_text import plain

WRONG, RIGHT, NO_ANSWER, UNGRADED = "wrong", "right", "no answer", "not graded"
UNFINISHED, TOO_SHORT, TOO_LONG = "cut off", "too short", "too long"
SAME_TEXT, SAME_EQUATIONS, SURPLUS = "same text", "same equations", "more than per question"


@dataclasses.dataclass(frozen=True)
class Candidate:
    """One solution of a question.

    Attributes:
      question: without its options.
      text: the solution.
      correct: its grade; None where it has none.
      answered: whether an answer was found in it.
      finished: whether it ended by itself.
      options: of a choice.
    """

    question: str
    text: str
    correct: bool | None = None
    answered: bool = True
    finished: bool = True
    options: Sequence[str] | None = None

    @property
    def question_key(self) -> str:
        """What tells the question from others."""
        return question_text(self.question, self.options)


@dataclasses.dataclass(frozen=True)
class Curation:
    """What is kept; a solution is left out for the first of these that it fails, in this order.

    Attributes:
      grade: "right", "wrong" (those that found another answer) or "any".
      unfinished: whether solutions that were cut off stay.
      min_words, max_words: of a solution, as `data.words` counts them; None: no limit.
      distinct: of the solutions of one question that are the same the first stays. "text": with the
        same words; "equations": with the same sequence of equations, as Yuan et al. 2023 (RFT,
        section 3.3) compare paths, and by words where there is none; None: doubled ones stay.
      per_question: the most solutions of one question; None: no limit.
      seed: chooses those. A solution's place in the choice depends on seed, question and text
        alone, so that more candidates never bring back one that was passed over for another.
    """

    grade: Literal["right", "wrong", "any"] = "right"
    unfinished: bool = False
    min_words: int | None = None
    max_words: int | None = None
    distinct: Literal["text", "equations"] | None = "text"
    per_question: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("min_words", "max_words", "per_question"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"{name} must be 1 or more, or left out, got {value}")
        if self.min_words and self.max_words and self.min_words > self.max_words:
            raise UserError(
                f"min_words is {self.min_words} and max_words {self.max_words}: nothing is between"
            )


def curate(
    candidates: Sequence[Candidate],
    settings: Curation,
    test_sets: Mapping[str, Sequence[str]] | None = None,
) -> list[str | None]:
    """Returns for each candidate why it is left out; None: it is kept.

    Args:
      candidates: in the order in which the first of several equal ones is kept.
      settings: what is kept.
      test_sets: by name, questions with their options (`contamination.question_text`); a solution
        of a question that overlaps one of them is left out, with the reason "in NAME".
    """
    reasons = [_own_reason(one, settings) for one in candidates]
    known = _known_questions(candidates, test_sets or {})
    for place, one in enumerate(candidates):
        if reasons[place] is None and one.question_key in known:
            reasons[place] = f"in {known[one.question_key]}"
    if settings.distinct is not None:
        _leave_out_doubled(candidates, settings.distinct, reasons)
    if settings.per_question is not None:
        _leave_out_surplus(candidates, settings.per_question, settings.seed, reasons)
    return reasons


def equations(text: str) -> tuple[str, ...]:
    """Returns the equations of a text in their order, however they are spaced and their signs look.

    An equation is arithmetic, `=`, and a number; GSM8K's `<<3*4=12>>` only repeats one.

        >>> equations("3 × 4 = 12, and 12 - 2 = $10.")
        ('3*4=12', '12-2=10')
    """
    spoken = plain(_CALCULATOR.sub("", text)).translate(_SIGNS)
    spoken = _UNITS_BETWEEN.sub(" ", spoken)
    return tuple(_written_plainly(match[0]) for match in _EQUATION.finditer(spoken))


def _written_plainly(equation: str) -> str:
    return _ZEROS.sub("", _NOT_MATHEMATICS.sub("", equation).replace("x", "*")).rstrip(".")


def _own_reason(one: Candidate, settings: Curation) -> str | None:
    """Returns why a solution is left out, whatever else there is."""
    if settings.grade != "any" and one.correct is None:
        return UNGRADED
    if settings.grade == "right" and not one.correct:
        return WRONG if one.answered else NO_ANSWER
    if settings.grade == "wrong" and (one.correct or not one.answered):
        return RIGHT if one.correct else NO_ANSWER
    if not one.finished and not settings.unfinished:
        return UNFINISHED
    if settings.min_words is not None or settings.max_words is not None:
        words = len(words_of(one.text))
        if words < (settings.min_words or 0):
            return TOO_SHORT
        if settings.max_words is not None and words > settings.max_words:
            return TOO_LONG
    return None


def _known_questions(
    candidates: Sequence[Candidate], test_sets: Mapping[str, Sequence[str]]
) -> dict[str, str]:
    """Returns the questions that stand in a test set, and in which."""
    if not test_sets:
        return {}
    by_key = {one.question_key: question_text(one.question, one.options) for one in candidates}
    names, texts = list(by_key), list(by_key.values())
    known: dict[str, str] = {}
    for name, questions in test_sets.items():
        for found in overlaps(texts, questions):
            known.setdefault(names[found.test], name)
    return known


def _leave_out_doubled(candidates: Sequence[Candidate], by: str, reasons: list[str | None]) -> None:
    seen: set[tuple[str, tuple[str, ...]]] = set()
    for place, one in enumerate(candidates):
        if reasons[place] is not None:
            continue
        path = equations(one.text) if by == "equations" else ()
        reason = SAME_EQUATIONS if path else SAME_TEXT
        key = one.question_key, path or (" ".join(words_of(one.text)) or one.text.strip(),)
        if key in seen:
            reasons[place] = reason
        seen.add(key)


def _leave_out_surplus(
    candidates: Sequence[Candidate], most: int, seed: int, reasons: list[str | None]
) -> None:
    places: dict[str, list[int]] = collections.defaultdict(list)
    for place, one in enumerate(candidates):
        if reasons[place] is None:
            places[one.question_key].append(place)
    for question_key, found in places.items():
        drawn = sorted(found, key=lambda place: _drawn(seed, question_key, candidates[place].text))
        for place in drawn[most:]:
            reasons[place] = SURPLUS


def _drawn(seed: int, question_key: str, text: str) -> bytes:
    drawn = f"{seed}\0{question_key}\0{text}".encode("utf-8", "surrogatepass")
    return hashlib.sha256(drawn).digest()


_CALCULATOR = re.compile(r"<<[^<>]*>>")
_SIGNS = str.maketrans("×·÷−–", "**/--")
# `3 boxes * 4 pens = 12 pens`: a word behind a number of an equation is its unit.
_UNITS_BETWEEN = re.compile(r"(?<=[0-9])[ ]?[A-Za-z]{1,20}(?=[ ]?[-+*/=])")
_NUMBER = r"[$£€]?-?[0-9][0-9,]*(?:\.[0-9]+)?%?"
_EQUATION = re.compile(rf"\(*{_NUMBER}(?:[ ()]*[-+*/x^][ ()]*{_NUMBER}[ )]*)+[ ]*=[ ]*{_NUMBER}")
_ZEROS = re.compile(r"(?<=[0-9])\.0+(?![0-9])")
_NOT_MATHEMATICS = re.compile(r"[ $£€,]")
