"""Formats side by side: what each reaches, and what it changes against the first, by type."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tlm_jax.evaluation.intervals import wilson
from tlm_jax.recipes.paired import Rights, compared

ALL = "all"
"""The type of all questions together."""

RightsOf = Callable[[Mapping[str, Any]], Rights]
"""From a run to whether its chosen checkpoint answered each test question rightly."""


def table(
    runs: Sequence[Mapping[str, Any]], types: Mapping[str, str], rights: RightsOf, first: str
) -> list[dict[str, Any]]:
    """Returns a row for each size, format and type of question.

    `right` of `asked` is over all seeds, with Wilson's interval, which takes every answer for
    another question. `change` is the paired difference from the format `first` of the same size
    over the seeds that both have (`recipes.paired`); None for that format itself.

    Args:
      runs: with `size`, `form` and `seed`.
      types: of the test questions, by id.
      rights: of a run.
      first: the format that others are compared with.
    """
    rows = []
    cells = dict.fromkeys((run["size"], run["form"]) for run in runs)
    kinds = [ALL, *sorted(set(types.values()))]
    for size, form in cells:
        of_cell = {r["seed"]: rights(r) for r in runs if (r["size"], r["form"]) == (size, form)}
        of_first = {r["seed"]: rights(r) for r in runs if (r["size"], r["form"]) == (size, first)}
        for kind in kinds if len(kinds) > 2 else [ALL]:
            answers = [_of_type(found, types, kind) for found in of_cell.values()]
            right, asked = sum(sum(a.values()) for a in answers), sum(map(len, answers))
            low, high = wilson(right, asked)
            pairs = [
                (_of_type(of_first[seed], types, kind), _of_type(of_cell[seed], types, kind))
                for seed in of_cell
                if seed in of_first
            ]
            rows.append(
                {
                    "size": size,
                    "form": form,
                    "type": kind,
                    "seeds": list(of_cell),
                    "right": right,
                    "asked": asked,
                    "accuracy": right / asked if asked else None,
                    "accuracy_low": low,
                    "accuracy_high": high,
                    "change": compared(pairs) if form != first and pairs else None,
                }
            )
    return rows


def _of_type(answers: Rights, types: Mapping[str, str], kind: str) -> dict[str, bool]:
    return {name: right for name, right in answers.items() if kind in (ALL, types.get(name))}
