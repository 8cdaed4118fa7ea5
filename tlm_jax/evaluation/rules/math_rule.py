"""Grades mathematics by meaning: 1/2, 0.5 and \\frac12 are one answer."""

from __future__ import annotations

import atexit
import re

from tlm_jax.data.official_math import last_boxed
from tlm_jax.evaluation.extraction import after_marker, extract_text
from tlm_jax.evaluation.numbers import close
from tlm_jax.evaluation.rules.math_process import MathProcess
from tlm_jax.evaluation.rules.rule import Options, Rule, Undecided

LONGEST_ANSWER = 2_000
"""Characters; what is longer is no answer, and would keep the comparison busy to its limit."""


def _math(text: str, options: Options = None) -> str | None:
    marked = after_marker(text)
    found = last_boxed(text if marked is None else marked)
    if found is None:
        found = extract_text(text)
        if found is not None and marked is None:
            found = _end_of_sentence(found)
        elif found is None or _PROSE.fullmatch(found):
            # Such as `Checking the answer is necessary, because ...`.
            found = last_boxed(text) or found
    return None if found is None else found.strip().strip("$").strip() or None


def _end_of_sentence(line: str) -> str:
    """Returns the last formula of a line of prose, else what follows its last `:`, `=` or verb."""
    formulas = line.split("$")
    if len(formulas) > 2:
        return formulas[-2 if len(formulas) % 2 else -3]
    starts = [match.end() for match in _BEFORE_AN_ANSWER.finditer(line)]
    return line[starts[-1] :] if starts else line


def _gold(gold: str, options: Options) -> str | None:
    return _math(gold) if after_marker(gold) or last_boxed(gold) else gold.strip() or None


def _same_mathematics(extracted: str, gold: str) -> bool:
    """Whether two answers mean the same.

    Equal text does, white space aside. Words are compared as words, whatever their case: as
    mathematics, `east` would be a product of four letters, and `seat` the same product.

    Raises:
      Undecided: if the comparison was longer than its time or memory allows.
    """
    if "".join(extracted.split()) == "".join(gold.split()):
        return True
    if _PLAIN_NUMBER.fullmatch(extracted) and _PLAIN_NUMBER.fullmatch(gold):
        return close(float(extracted), float(gold))
    gold_words = _words(gold)
    if gold_words is not None:
        return _words(extracted) == gold_words
    if max(len(extracted), len(gold)) > LONGEST_ANSWER:
        raise Undecided(f"answer longer than {LONGEST_ANSWER:,} characters")
    return _process.same(gold, extracted)


def _words(answer: str) -> str | None:
    """Returns an answer that consists of words, in a plain form, or None if it is mathematics."""
    if len(answer) > LONGEST_ANSWER:
        return None
    plain = _TEXT_COMMAND.sub(lambda match: match[1], answer)
    plain = " ".join(plain.removesuffix(".").lower().split()).strip("() ")
    return plain if _WORDS.fullmatch(plain) else None


_TEXT_COMMAND = re.compile(r"\\(?:text|textbf|textit|mathrm|mbox)\s*\{([^{}]*)\}")
_WORDS = re.compile(r"(?=.*[a-z]{3})[a-z][a-z' -]*")
_PLAIN_NUMBER = re.compile(r"-?[0-9]{1,300}(?:\.[0-9]{1,300})?")
_BEFORE_AN_ANSWER = re.compile(r"[:=]|\b(?:is|are)\b")
_PROSE = re.compile(r"[^0-9$\\\s]+(?:\s+[^0-9$\\\s]+){2,}")
_process = MathProcess()
atexit.register(_process.close)

MATH = Rule(
    name="math",
    summary="last box behind the last marker, else the text there; equal by math-verify",
    extract=_math,
    read_gold=_gold,
    same=_same_mathematics,
    source="math-verify, in a process of its own with a limit of 5 seconds of work",
    faults=(
        "50\\% equals both 50 and 0.5; 1,2,3 is a set, so its order does not count",
        "a unit or a degree sign may be missing, and 10_2 equals 10",
    ),
)
