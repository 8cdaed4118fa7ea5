"""The first wrong step of a solution of a word problem, found by the problem's own solution."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from tlm_jax.data.records import Record

_EQUATION = re.compile(r"(\d+) ([-+*/]) (\d+) = (\d+)")
_ANSWER = re.compile(r"[Tt]he answer is (-?\d+)")


@dataclass(frozen=True)
class FoundError:
    """Where a solution goes wrong first.

    Attributes:
      step: its number, from 1.
      explanation: what is wrong there, in a sentence or two.
      corrected: the steps of the problem's own solution from there on, the answer included.
    """

    step: int
    explanation: str
    corrected: tuple[str, ...]


def first_error(record: Record, steps: Sequence[str]) -> FoundError | None:
    """Returns the first wrong step of a solution, exactly; None where no step is wrong.

    A step is right when it calculates what the problem's own solution calculates at that place: the
    same operation on the same numbers (of sums and products in any order), with its right result.
    Wording does not count. The answer is a step, too: it is wrong where the solution is not
    finished, or where it is another number than the last result.

    Args:
      record: a word problem with its rationale, an equation a line.
      steps: without their numbers, the last one `The answer is n.`
    """
    gold = (record.rationale or "").split("\n")
    answer = f"The answer is {record.answer}."
    for place, step in enumerate(steps):
        is_last = place == len(steps) - 1
        said = _ANSWER.search(step) if is_last else None
        rest = (*gold[place:], answer)
        if place >= len(gold):
            if said is not None and int(said[1]) == int(record.answer):
                return None
            return FoundError(place + 1, _of_the_end(step, said is not None, record), (answer,))
        if said is not None:
            why = f"The solution is not finished. {gold[place]}"
            return FoundError(place + 1, why, rest)
        why = _wrong(_equation(step), _equation(gold[place]), gold[place])
        if why:
            return FoundError(place + 1, why, rest)
    return FoundError(len(steps), f"The answer is missing: it is {record.answer}.", (answer,))


class _Equation(NamedTuple):
    left: int
    op: str
    right: int
    result: int

    def __str__(self) -> str:
        return f"{self.left} {self.op} {self.right}"

    def asks(self) -> tuple[object, ...]:
        """What is calculated; the order counts where it makes a difference."""
        numbers = (self.left, self.right)
        return self.op, *(sorted(numbers) if self.op in "+*" else numbers)


def _equation(step: str) -> _Equation | None:
    """Returns the last equation of a step."""
    found = _EQUATION.findall(step)
    if not found:
        return None
    left, op, right, result = found[-1]
    return _Equation(int(left), op, int(right), int(result))


def _wrong(found: _Equation | None, gold: _Equation | None, sentence: str) -> str:
    """Returns what is wrong with a step; nothing where it is right."""
    assert gold is not None, sentence
    if found is None:
        return f"Nothing is calculated. {sentence}"
    if found.asks() != gold.asks():
        return f"It is {gold}, not {found}. {sentence}"
    if found.result != gold.result:
        return f"{found} is {gold.result}, not {found.result}."
    return ""


def _of_the_end(step: str, says_answer: bool, record: Record) -> str:
    if says_answer:
        return f"The last result is the answer, and it is {record.answer}."
    return f"The question is answered before: the answer is {record.answer}."
