"""Grading rules: three functions each, and what is known about them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

Options = Sequence[str] | None


class Undecided(Exception):
    """A comparison ended without a verdict, for example at its time limit."""


@dataclass(frozen=True)
class Rule:
    """How answers are found and compared.

    Attributes:
      name: what the command line calls it.
      summary: what it does, in one line.
      extract: (text, options) -> the answer in what a model wrote, or None. Takes any text, in time
        that grows with its length.
      read_gold: (gold, options) -> the gold answer, or None if it cannot be read as one. Such a
        question is not graded: no output could be right.
      same: (extracted, gold) -> whether the two are the same answer. May raise Undecided.
      source: whose rule it is.
      faults: where it is known to be wrong.
    """

    name: str
    summary: str
    extract: Callable[[str, Options], str | None]
    read_gold: Callable[[str, Options], str | None]
    same: Callable[[str, str], bool]
    source: str = "tlm_jax"
    faults: tuple[str, ...] = ()


def stripped_gold(gold: str, options: Options = None) -> str | None:
    """Returns a gold answer that is text without the white space at its ends; None if empty."""
    return gold.strip() or None
