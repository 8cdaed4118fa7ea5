"""Students side by side: what each kind reaches over its seeds, and what one setting changes."""

from __future__ import annotations

import collections
import math
import statistics as python_statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tlm_jax.evaluation.intervals import wilson
from tlm_jax.recipes.paired import compared

Cell = tuple[str, str, str]
"""Mixture, start and loss."""
FACTORS = ("mixture", "start", "loss")

Rights = Callable[[Mapping[str, Any], str, str], Mapping[str, bool]]
"""From a run, a data set and a prompt to whether its chosen checkpoint answered each question."""

_T_95 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)
"""97.5 % quantiles of Student's t by degrees of freedom, from 1."""


def table(runs: Sequence[Mapping[str, Any]], sets: Sequence[str]) -> list[dict[str, Any]]:
    """Returns a row for each kind of student: its chosen checkpoints over all seeds.

    `accuracy` by data set and prompt has `right` of `questions`, asked once a seed, with Wilson's
    interval; `nll_nats` by format, on the development set, the mean over seeds with Student's
    interval; `special` and `general`, means over sets and prompts.
    """
    rows = []
    for cell, of_cell in _cells(runs).items():
        chosen = [run["steps"][run["chosen"]["place"]] for run in of_cell]
        accuracy: dict[str, Any] = {}
        for data_set in sets:
            for prompt in chosen[0]["evaluation"][data_set]:
                found = [one["evaluation"][data_set][prompt] for one in chosen]
                right = sum(one["right"] for one in found)
                questions = sum(one["questions"] for one in found)
                low, high = wilson(right, questions)
                accuracy.setdefault(data_set, {})[prompt] = {
                    "right": right,
                    "questions": questions,
                    "accuracy": right / questions if questions else None,
                    "accuracy_low": low,
                    "accuracy_high": high,
                }
        forms = chosen[0]["dev"]
        rows.append(
            {
                **dict(zip(FACTORS, cell)),
                "seeds": [run["seed"] for run in of_cell],
                "chosen": [run["chosen"]["step"] for run in of_cell],
                "accuracy": accuracy,
                "nll_nats": {
                    form: spread([one["dev"][form]["nll_nats"] for one in chosen]) for form in forms
                },
                "special": spread([one["special"] for one in chosen]),
                "general": spread([one["general"] for one in chosen]),
            }
        )
    return rows


def pairs(
    runs: Sequence[Mapping[str, Any]], sets: Sequence[str], rights: Rights
) -> list[dict[str, Any]]:
    """Returns what one setting changes where all others are the same.

    Each value of a factor is compared with the first one, question by question, with the same
    seeds: `difference` is the mean over questions of the mean over seeds, with a bootstrap interval
    over questions; `p_value` is McNemar's exact test over questions and seeds. `nll_difference` is
    that of the development set, the mean over seeds of the mean over formats.
    """
    cells = _cells(runs)
    found = []
    for place, factor in enumerate(FACTORS):
        first = next(iter(cells), ("", "", ""))[place]
        for cell, of_second in cells.items():
            base: Cell = (*cell[:place], first, *cell[place + 1 :])  # pyright: ignore[reportAssignmentType]
            if cell == base or base not in cells:
                continue
            by_seed = {run["seed"]: run for run in cells[base]}
            both = [(by_seed[r["seed"]], r) for r in of_second if r["seed"] in by_seed]
            if not both:
                continue
            told = {
                "factor": factor,
                "first": base[place],
                "second": cell[place],
                **{name: value for name, value in zip(FACTORS, cell) if name != factor},
                "seeds": [second["seed"] for _, second in both],
                "nll_difference": spread([_nll(b) - _nll(a) for a, b in both]),
            }
            prompts = both[0][0]["steps"][0]["evaluation"][sets[0]]
            for data_set in sets:
                for prompt in prompts:
                    change = compared(
                        [
                            (rights(a, data_set, prompt), rights(b, data_set, prompt))
                            for a, b in both
                        ]
                    )
                    found.append({**told, "set": data_set, "prompt": prompt, **change})
    return found


def spread(values: Sequence[float | None]) -> dict[str, Any]:
    """Returns the mean of values, one a seed, with Student's 95 % interval from two seeds on."""
    known = [value for value in values if value is not None and math.isfinite(value)]
    if not known:
        return {"mean": None, "low": None, "high": None, "values": list(values)}
    mean = python_statistics.fmean(known)
    if len(known) < 2:
        return {"mean": mean, "low": None, "high": None, "values": list(values)}
    quantile = _T_95[min(len(known) - 2, len(_T_95) - 1)]
    half = quantile * python_statistics.stdev(known) / math.sqrt(len(known))
    return {"mean": mean, "low": mean - half, "high": mean + half, "values": list(values)}


def _cells(runs: Sequence[Mapping[str, Any]]) -> dict[Cell, list[Mapping[str, Any]]]:
    found: dict[Cell, list[Mapping[str, Any]]] = collections.defaultdict(list)
    for run in runs:
        found[run["mixture"], run["start"], run["loss"]].append(run)
    return dict(found)


def _nll(run: Mapping[str, Any]) -> float:
    """Returns the mean over formats on the development set, at the end of training."""
    dev = run["steps"][-1]["dev"]
    return python_statistics.fmean(one["nll_nats"] for one in dev.values())
