"""Two models side by side on the same questions, for the methods that compare some."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tlm_jax.evaluation.statistics import bootstrap, mcnemar

Rights = Mapping[str, bool]
"""Whether each question was answered rightly, by its id."""


def compared(answers: Sequence[tuple[Rights, Rights]]) -> dict[str, Any]:
    """Returns what the second of two models changes, over one or more seeds.

    `difference` is the mean over questions of the mean over seeds, with a bootstrap interval over
    questions, `fixed` and `broken` are counts over both, and `p_value` is McNemar's exact test of
    these. Questions that are not in all answers are left out.

    Args:
      answers: for each seed, of the first model and of the second.
    """
    names = [name for name in answers[0][0] if all(name in a and name in b for a, b in answers)]
    changes = np.array([[int(b[name]) - int(a[name]) for name in names] for a, b in answers])
    fixed, broken = int((changes > 0).sum()), int((changes < 0).sum())
    low, high = bootstrap(changes.mean(axis=0)) if names else (None, None)
    return {
        "questions": len(names),
        "fixed": fixed,
        "broken": broken,
        "difference": float(changes.mean()) if names else None,
        "difference_low": low,
        "difference_high": high,
        "p_value": mcnemar(fixed, broken),
    }
