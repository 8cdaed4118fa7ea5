"""Comparisons of arrays with those that another program recorded, and their report."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float


class Comparison(NamedTuple):
    """One array against its recorded value.

    Attributes:
      name: of the recorded array.
      difference: the largest; infinite where shapes differ or a value is not finite.
      tolerance: the largest allowed.
      relative: whether both are relative: to the recorded array's largest element, or for norms
        and sums, one a parameter, to each.
    """

    name: str
    difference: float
    tolerance: float
    relative: bool

    @property
    def agrees(self) -> bool:
        """Whether the difference is within tolerance."""
        return self.difference <= self.tolerance


class Report(NamedTuple):
    """All comparisons of one directory, and the recorded arrays that nothing was compared with."""

    comparisons: list[Comparison]
    not_compared: list[str]

    @property
    def agrees(self) -> bool:
        """Whether every comparison agrees, and there is one."""
        return bool(self.comparisons) and all(c.agrees for c in self.comparisons)


def compare(
    name: str, got: Any, expected: Any, tolerance: float, *, relative: bool = False
) -> Comparison:
    """Returns the largest difference of two arrays."""
    got, expected = np.asarray(got, np.float64), np.asarray(expected, np.float64)
    if got.shape != expected.shape or not np.isfinite(got).all():
        return Comparison(name, float("inf"), tolerance, relative)
    difference = np.abs(got - expected).max(initial=0.0)
    if relative and difference:
        difference /= np.abs(expected).max()
    return Comparison(name, float(difference), tolerance, relative)


def compare_each(
    name: str,
    got: Float[np.ndarray, "n"],
    expected: Float[np.ndarray, "n"],
    tolerance: float,
    *,
    floor: float = 0.0,
) -> Comparison:
    """Returns the largest difference of two lists of numbers, each relative to its own size.

    Args:
      name: of the recorded list.
      got: ours.
      expected: the recorded one.
      tolerance: the largest difference allowed.
      floor: numbers smaller than this are compared relative to it: what is zero but for noise has
        no size of its own.
    """
    size = np.maximum(np.abs(np.asarray(expected, np.float64)), floor)
    comparison = compare(name, got / size, expected / size, tolerance)
    return comparison._replace(relative=True)
