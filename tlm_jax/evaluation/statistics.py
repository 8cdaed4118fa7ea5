"""Figures with their uncertainty: votes over samples, pass@k, intervals, and paired tests.

Everything is float64 on the host. A sample is the answer extracted from one generation, or None
where there is none.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

Answer = Hashable | None
Interval = tuple[float, float]


class Comparison(NamedTuple):
    """Two checkpoints on the same questions.

    Attributes:
      questions: how many.
      fixed: how many only the second answers rightly.
      broken: how many only the first does.
      difference: accuracy of the second less that of the first.
      interval: of the difference, by a paired bootstrap.
      p_value: exact McNemar test, two-sided, that neither is better.
    """

    questions: int
    fixed: int
    broken: int
    difference: float
    interval: Interval
    p_value: float


def majority(answers: Sequence[Answer]) -> Answer:
    """Returns the answer that most samples give; of equals, the one seen first.

    None does not vote. Where no sample has an answer the result is None, which is wrong.
    """
    votes: dict[Hashable, int] = {}
    for answer in answers:
        if answer is not None:
            votes[answer] = votes.get(answer, 0) + 1
    # `max` takes the first of equals, and a dict keeps the order of insertion.
    return max(votes, key=votes.__getitem__) if votes else None


def pass_at_k(num_samples: int, num_correct: int, k: int) -> float:
    """Returns the unbiased estimate of the chance that one of k samples is right.

    1 − C(n − c, k) / C(n, k): the share of the k-subsets of the n samples with a right one.

    Source: Chen et al. 2021, "Evaluating Large Language Models Trained on Code", eq. 1.
    """
    assert 0 <= num_correct <= num_samples, f"{num_correct} right of {num_samples} samples"
    assert 1 <= k <= num_samples, f"k is {k}, of {num_samples} samples"
    if num_samples - num_correct < k:
        return 1.0
    wrong = np.arange(num_samples - num_correct + 1, num_samples + 1, dtype=np.float64)
    return float(1.0 - np.prod(1.0 - k / wrong))


def maj_at_k(
    answers: Sequence[Answer],
    correct: Sequence[bool],
    k: int,
    *,
    exact_subsets: int = 2_000,
    draws: int = 400,
    seed: int = 0,
) -> float:
    """Returns the chance that the majority of k samples, drawn without putting back, is right.

    The subset keeps the order of the samples, so ties are broken as `majority` does. All subsets
    are counted where there are at most `exact_subsets`, else `draws` random ones are, a Monte Carlo
    estimate with a standard error of at most 0.5 / sqrt(draws).

    Args:
      answers: extracted, in the order of sampling.
      correct: whether each is right; equal answers are right or wrong alike.
      k: samples that vote.
      exact_subsets: the most subsets that are all counted.
      draws: otherwise, how many.
      seed: of the draws.
    """
    n = len(answers)
    assert 1 <= k <= n, f"k is {k}, of {n} samples"
    codes, right = _coded(answers, correct)
    if k == n:
        subsets = np.arange(n)[None]
    elif math.comb(n, k) <= exact_subsets:
        subsets = _all_subsets(n, k)
    else:
        order = np.random.default_rng([seed, n, k]).random((draws, n)).argsort(axis=1)
        subsets = np.sort(order[:, :k], axis=1)
    return float(np.mean(_votes_right(codes[subsets], right)))


def curve_ks(num_samples: int) -> list[int]:
    """Returns 1, 2, 4, 8, ... and the number of samples: where curves over k are drawn."""
    powers = [2**i for i in range(num_samples.bit_length()) if 2**i < num_samples]
    return [*powers, num_samples]


def mean_over_questions(values: Sequence[float]) -> float:
    """Returns the mean; NaN without questions."""
    return float(np.mean(np.asarray(values, np.float64))) if len(values) else math.nan


def standard_error(values: Float[np.ndarray, "n"]) -> float:
    """Returns the standard error of the mean over questions, sqrt(var / n) with n − 1 degrees."""
    if len(values) < 2:
        return math.nan
    return float(np.std(np.asarray(values, np.float64), ddof=1) / math.sqrt(len(values)))


def bootstrap(
    values: Shaped[np.ndarray, "n"],
    *,
    level: float = 0.95,
    resamples: int = 2_000,
    seed: int = 0,
) -> Interval:
    """Returns the percentile bootstrap interval of a mean over questions.

    Questions are drawn with putting back. For accuracies use Wilson's interval (`intervals`): at 0
    or n right answers a bootstrap would claim certainty. This is for means of other values, such
    as pass@k or maj@k. One question, or equal values, give an interval of no length.

    Args:
      values: one a question.
      level: share of resamples inside.
      resamples: how many.
      seed: of the draws; the same seed gives the same interval.
    """
    values = np.asarray(values, np.float64)
    if values.size == 0:
        return math.nan, math.nan
    generator = np.random.default_rng(seed)
    at_once = max(1, 2_000_000 // values.size)  # a few megabytes of draws
    found = [
        values[generator.integers(0, values.size, (count, values.size))].mean(axis=1)
        for count in _blocks(resamples, at_once)
    ]
    tail = (1.0 - level) / 2
    low, high = np.quantile(np.concatenate(found), [tail, 1.0 - tail])
    return float(low), float(high)


def mcnemar(fixed: int, broken: int) -> float:
    """Returns the exact two-sided p-value that changes for better and for worse are equally likely.

    With n = fixed + broken changed questions and X binomial (n, 1/2), it is
    min(1, 2 P(X <= min(fixed, broken))); 1 where nothing changed.

    Source: Q. McNemar, Psychometrika 12 (1947), in its exact form.
    """
    n, least = fixed + broken, min(fixed, broken)
    # Whole numbers: no rounding before the one division.
    below = sum(math.comb(n, i) for i in range(least + 1))
    return min(1.0, 2 * below / 2**n) if n else 1.0


def compare(
    first: Bool[np.ndarray, "n"], second: Bool[np.ndarray, "n"], *, seed: int = 0
) -> Comparison:
    """Compares two checkpoints by the questions that both were asked, in the same order."""
    changes = second.astype(np.float64) - first.astype(np.float64)
    fixed, broken = int((changes > 0).sum()), int((changes < 0).sum())
    return Comparison(
        questions=len(changes),
        fixed=fixed,
        broken=broken,
        difference=mean_over_questions(changes.tolist()),
        interval=bootstrap(changes, seed=seed),
        p_value=mcnemar(fixed, broken),
    )


def _coded(
    answers: Sequence[Answer], correct: Sequence[bool]
) -> tuple[Int[np.ndarray, "n"], Bool[np.ndarray, "a"]]:
    """Returns a number for each answer, −1 for none, and whether each number is right."""
    numbers: dict[Hashable, int] = {}
    codes = [-1 if a is None else numbers.setdefault(a, len(numbers)) for a in answers]
    right = np.zeros(max(len(numbers), 1), bool)
    for code, is_right in zip(codes, correct, strict=True):
        if code >= 0:
            right[code] = is_right
    return np.asarray(codes, np.int64), right


def _votes_right(
    codes: Int[np.ndarray, "r k"], right: Bool[np.ndarray, "a"]
) -> Bool[np.ndarray, "r"]:
    """Returns whether the majority of each row is right; ties go to the answer seen first."""
    counts = np.stack([(codes == answer).sum(axis=1) for answer in range(len(right))], axis=1)
    most = counts.max(axis=1)
    votes = np.take_along_axis(counts, np.maximum(codes, 0), axis=1)
    leads = (codes >= 0) & (votes == most[:, None])
    first = np.take_along_axis(codes, leads.argmax(axis=1)[:, None], axis=1)[:, 0]
    return leads.any(axis=1) & right[np.maximum(first, 0)]


def _all_subsets(n: int, k: int) -> Int[np.ndarray, "r k"]:
    return np.asarray(list(combinations(range(n), k)), np.int64)


def _blocks(total: int, size: int) -> list[int]:
    return [min(size, total - start) for start in range(0, total, size)]
