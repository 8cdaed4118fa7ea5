"""Confidence intervals of accuracies measured on few examples."""

from __future__ import annotations

import math

Z_95 = 1.959963984540054
"""The 97.5 % quantile of the normal distribution: two-sided intervals of 95 %."""


def wilson(successes: int | float, trials: int, z: float = Z_95) -> tuple[float, float]:
    """Returns the Wilson score interval of a binomial proportion, within [0, 1].

    With p = successes / trials and n = trials,

        centre = (p + z^2 / 2n) / (1 + z^2 / n)
        half   = z / (1 + z^2 / n) * sqrt(p (1 - p) / n + z^2 / 4n^2)

    Unlike the normal approximation it stays inside [0, 1] and is not empty at 0 or n successes.
    Without trials nothing is known: (0, 1). Successes may be a sum of shares, one a trial: those
    vary no more than successes do, so the interval is not too narrow.

    Source: E. B. Wilson, J. Am. Stat. Assoc. 22 (1927).
    """
    assert 0 <= successes <= trials, f"{successes} successes of {trials}"
    if trials == 0:
        return 0.0, 1.0
    p, n = successes / trials, trials
    scale = 1 + z * z / n
    centre = (p + z * z / (2 * n)) / scale
    half = z / scale * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    # The ends are exact at 0 and n successes; rounding must not push them past.
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == trials else min(1.0, centre + half)
    return low, high
