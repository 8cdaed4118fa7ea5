"""Automatic figures of corrections, and a sheet on which people rate some of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from tlm_jax.data.generators.word_problem_errors import first_error
from tlm_jax.data.records import Record
from tlm_jax.data.words import words_of
from tlm_jax.evaluation.curation import equations
from tlm_jax.evaluation.numbers import evaluate
from tlm_jax.recipes.lema.corrections import Correction

EMBEDDED = "word_problems"
"""Of records whose own solution has an equation a step, by which errors are found exactly."""

_UNKNOWN = re.compile(r"\d*\b[A-Za-z]\b ?[-+*/=]|[-+*/=] ?\d*[A-Za-z]\b|\d[A-Za-z]\b")
"""What makes a step algebra: of `2C + 15 - 5 = 110` no part is an equation of its own."""

_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")


def figures(record: Record, path: Sequence[str], found: Correction) -> dict[str, bool | None]:
    """Returns what can be known of a correction without a reader; None where it cannot.

    - `first_error`: the named step holds the first error; where the problem is embedded, exactly.
    - `about_step`: the explanation names the step, or shares a number or two words with it.
    - `calculated`: all equations of the corrected steps are right.
    - `follows`: what these equations calculate with stands in the question or in a step before.

    Args:
      record: the question.
      path: the wrong path.
      found: its correction.
    """
    calculations = [equation.split("=") for step in found.steps for equation in _equations(step)]
    return {
        "first_error": _first_error(record, path, found),
        "about_step": None if found.step is None else _is_about(found, path[found.step - 1]),
        "calculated": all(_holds(left, right) for left, right in calculations)
        if calculations
        else None,
        "follows": _follows(record, path, found) if calculations else None,
    }


def shares(rows: Iterable[Mapping[str, Any]]) -> dict[str, float | None]:
    """Returns of each figure the share of corrections of which it is true, where it is known."""
    rows = list(rows)
    names = ("first_error", "about_step", "calculated", "follows")
    known = {name: [row[name] for row in rows if row[name] is not None] for name in names}
    return {name: sum(values) / len(values) if values else None for name, values in known.items()}


def sheet(rows: Sequence[Mapping[str, Any]], number: int, seed: int) -> list[dict[str, Any]]:
    """Returns some corrections with an empty `rating`: "excellent", "good" or "poor".

    The paper's authors rated 50 so: 35 excellent, 11 good, 4 poor.
    """
    places = np.random.default_rng(seed).permutation(len(rows))[:number]
    return [{**rows[int(place)], "rating": None} for place in sorted(places.tolist())]


def _first_error(record: Record, path: Sequence[str], found: Correction) -> bool | None:
    if record.dataset != EMBEDDED or not record.rationale:
        return None
    error = first_error(record, path)
    return error is not None and error.step == found.step


def _equations(step: str) -> tuple[str, ...]:
    return () if _UNKNOWN.search(step) else equations(step)


def _is_about(found: Correction, step: str) -> bool:
    if re.search(rf"\bstep {found.step}\b", found.explanation, re.IGNORECASE):
        return True
    if _numbers(found.explanation) & _numbers(step):
        return True
    words = [{w for w in words_of(text) if len(w) > 3} for text in (found.explanation, step)]
    return len(words[0] & words[1]) > 1


def _numbers(text: str) -> set[str]:
    return {match.replace(",", "") for match in _NUMBER.findall(text)}


def _holds(left: str, right: str) -> bool:
    value, result = evaluate(left), evaluate(right)
    if value is None or result is None:
        return False
    decimals = len(right.partition(".")[2])
    # A result may be rounded to the decimals that it shows.
    return abs(value - result) <= 0.5 * 10**-decimals + 1e-9 if decimals else value == result


def _follows(record: Record, path: Sequence[str], found: Correction) -> bool:
    before = [record.question, *path[: (found.step or 1) - 1]]
    known = _numbers(" ".join(before))
    for step in found.steps:
        for equation in _equations(step):
            left, right = equation.split("=")
            # Numbers in words (half, twice, a dozen) are no digits in the question.
            if not _numbers(left) & known and known:
                return False
            known |= _numbers(right)
    return True
