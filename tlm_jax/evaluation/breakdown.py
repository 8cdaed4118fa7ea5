"""Accuracy by what makes questions hard: steps, level, operations, length, sub-task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tlm_jax.data.traits import Trait
from tlm_jax.evaluation.intervals import wilson

_MOST_VALUES = 6
_BINS = 5


@dataclass(frozen=True)
class Group:
    """Questions of one kind.

    Attributes:
      name: a value such as "Level 3", or a range of numbers such as "4–6".
      questions: how many.
      right: how many of them were answered rightly.
    """

    name: str
    questions: int
    right: int

    @property
    def accuracy(self) -> float:
        return self.right / self.questions

    def figures(self) -> dict[str, Any]:
        """Returns the figures with the 95 % Wilson interval."""
        low, high = wilson(self.right, self.questions)
        return {
            "group": self.name,
            "questions": self.questions,
            "right": self.right,
            "accuracy": self.accuracy,
            "accuracy_low": low,
            "accuracy_high": high,
        }


def breakdowns(
    questions: Sequence[Mapping[str, Trait]], rights: Sequence[bool]
) -> dict[str, dict[str, Any]]:
    """Returns the accuracy by each trait that divides the questions.

    A trait of at most six values, or of words, has a group for each value; one of more numbers five
    ranges with about as many questions in each. Questions without the trait are in no group.

    Args:
      questions: the traits of each.
      rights: whether each was answered rightly.

    Returns:
      By trait, `groups` in ascending order (see `Group.figures`) and `mean`, the mean of their
      accuracies, each group counting alike, as benchmarks of several tasks are reported;
      `mean_low` and `mean_high` are its 95 % interval, by a bootstrap within groups.
    """
    names = dict.fromkeys(name for traits in questions for name in traits)
    found = {}
    for name in names:
        having = [i for i, traits in enumerate(questions) if name in traits]
        groups = _groups([questions[i][name] for i in having], [rights[i] for i in having])
        if len(groups) > 1:
            low, high = _interval_of_mean(groups)
            found[name] = {
                "groups": [group.figures() for group in groups],
                "mean": sum(group.accuracy for group in groups) / len(groups),
                "mean_low": low,
                "mean_high": high,
            }
    return found


def _interval_of_mean(groups: Sequence[Group], resamples: int = 2_000) -> tuple[float, float]:
    """Returns the percentile bootstrap interval; a group drawn anew has a binomial number right."""
    counts = np.asarray([group.questions for group in groups])
    shares = np.asarray([group.accuracy for group in groups])
    drawn = np.random.default_rng(0).binomial(counts, shares, (resamples, len(groups)))
    low, high = np.quantile((drawn / counts[None]).mean(axis=1), [0.025, 0.975])
    return float(low), float(high)


def _groups(values: Sequence[Trait], rights: Sequence[bool]) -> list[Group]:
    numbers = [value for value in values if isinstance(value, int)]
    names: list[str] = [str(value) for value in values]
    order = sorted(set(names))
    if len(numbers) == len(values):
        labels = _ranges(numbers)
        names = [labels[value] for value in numbers]
        order = list(dict.fromkeys(labels.values()))
    counts = {name: [0, 0] for name in order}
    for name, right in zip(names, rights, strict=True):
        counts[name][0] += 1
        counts[name][1] += right
    return [Group(name, count, right) for name, (count, right) in counts.items()]


def _ranges(numbers: Sequence[int]) -> dict[int, str]:
    """Returns the name of the range of each number that occurs, ascending."""
    distinct = sorted(set(numbers))
    if len(distinct) <= _MOST_VALUES:
        return {number: str(number) for number in distinct}
    edges = np.quantile(numbers, np.arange(1, _BINS) / _BINS, method="inverted_cdf")
    places = np.searchsorted(np.unique(edges), distinct)  # an edge is the last number of its range
    parts = [
        [number for number, place in zip(distinct, places) if place == chosen]
        for chosen in dict.fromkeys(places.tolist())
    ]
    return {
        number: str(part[0]) if len(part) == 1 else f"{part[0]}–{part[-1]}"
        for part in parts
        for number in part
    }
