"""Grading: whether the answer in a model's output is the gold answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tlm_jax.evaluation.extraction import extract
from tlm_jax.evaluation.numbers import close, evaluate


class Graded(NamedTuple):
    """What was found in the output (None: no answer of the right kind) and whether it is right."""

    extracted: str | None
    correct: bool


def grade(kind: str, text: str, gold: str, options: Sequence[str] | None = None) -> Graded:
    """Grades a model's output by the strict rules; no answer is wrong, never an error.

    Args:
      kind: 'numeric', 'choice', 'boolean' or 'text'.
      text: what the model wrote.
      gold: the gold answer as records write it.
      options: texts of the options of a choice.
    """
    extracted = extract(kind, text, options)
    if extracted is None:
        return Graded(None, False)
    return Graded(extracted, same_answer(kind, extracted, gold))


def same_answer(kind: str, extracted: str, gold: str) -> bool:
    """Whether an extracted answer equals the gold one.

    Numbers up to a relative tolerance of 1e-6; letters and yes/no whatever their case; text
    exactly, but for white space at the ends, runs of it inside, and one final full stop.
    """
    if kind == "numeric":
        one, other = evaluate(extracted), evaluate(gold)
        return one is not None and other is not None and close(one, other)
    if kind in ("choice", "boolean"):
        return extracted.strip().lower() == gold.strip().lower()
    return _squeezed(extracted) == _squeezed(gold)


def _squeezed(text: str) -> str:
    return " ".join(text.strip().removesuffix(".").split())
