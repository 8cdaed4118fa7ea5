"""The encoding `sampled`: tokens drawn from the teacher's whole distribution, with their counts.

Random-sampling distillation (arXiv 2503.16870): of N draws from p, count / N is an unbiased
estimate of p, so the expected gradient of a loss that is linear in p, such as the cross entropy
with soft targets, is that of the full distribution. Top-C targets are biased: they lack the tail.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np
from jaxtyping import Float32, Int32

from tlm_jax.errors import UserError
from tlm_jax.teacher_cache.checked_steps import checked_counts
from tlm_jax.teacher_cache.encoding import Quantised, SparseEncoding
from tlm_jax.teacher_cache.sparse_symbols import DecodedSymbols
from tlm_jax.teacher_cache.steps import StepDistributions


@dataclasses.dataclass(frozen=True)
class Sampled(SparseEncoding):
    """Keeps the ids drawn and how often each was; what is read is exact.

    Attributes:
      num_draws: N.
    """

    name: ClassVar[str] = "sampled"
    max_error_nats: ClassVar[float] = 0.0

    num_draws: int

    def __post_init__(self):
        if not 1 <= self.num_draws <= 65_536:
            raise UserError(f"sampled: num_draws must be 1 to 65,536, got {self.num_draws}.")

    @property
    def max_candidates(self) -> int:
        return self.num_draws

    def quantise(self, steps: StepDistributions, vocabulary_size: int) -> Quantised:
        kept = checked_counts(steps, vocabulary_size)
        present = np.arange(steps.ids.shape[1]) < kept[:, None]
        shares = np.where(present, np.exp(steps.logprobs.astype(np.float64)), 0) * self.num_draws
        counts = np.rint(shares).astype(np.int64)
        wrong = present & ((counts < 1) | (np.abs(shares - counts) > 1e-3 * np.maximum(counts, 1)))
        wrong_steps = wrong.any(1) | ((kept > 0) & (counts.sum(1) != self.num_draws))
        if wrong_steps.any():
            step = int(np.flatnonzero(wrong_steps)[0])
            raise UserError(
                f"step {step}: its probabilities are not counts of {self.num_draws} draws; "
                "expected log(count / draws) and no tail."
            )
        order = np.argsort(-counts, axis=1, kind="stable")
        counts, ids = (np.take_along_axis(a, order, axis=1) for a in (counts, steps.ids))
        levels = np.where(np.sort(~present, axis=1), 0, self.num_draws - counts)
        return Quantised(kept, ids, levels, np.zeros(len(kept), np.int64))

    def restore(self, symbols: DecodedSymbols) -> StepDistributions:
        weights = (symbols.counts > 0).astype(np.float32)
        return _from_counts(symbols.ids, self._draws(symbols), weights, self.num_draws)

    def _draws(self, symbols: DecodedSymbols) -> np.ndarray:
        beyond = np.arange(symbols.ids.shape[1]) >= symbols.counts[:, None]
        return np.where(beyond, 0, self.num_draws - symbols.levels)


def steps_from_draws(
    draws: Int32[np.ndarray, "T N"], weights: Float32[np.ndarray, " T"]
) -> StepDistributions:
    """Returns the distributions that N draws a step stand for: C = N, padded.

    Args:
      draws: token ids drawn from the teacher's distribution.
      weights: as of `StepDistributions`.
    """
    num_draws = draws.shape[1]
    in_order = np.sort(draws, axis=1)
    firsts = np.diff(in_order, axis=1, prepend=-1) != 0
    # A run's length is the distance from its first to the next run's, or to the end.
    places = np.where(firsts, np.arange(num_draws), num_draws)
    after = np.minimum.accumulate(places[:, ::-1], axis=1)[:, ::-1]
    following = np.concatenate([after[:, 1:], np.full((len(draws), 1), num_draws)], axis=1)
    counts = np.where(firsts, following - np.arange(num_draws), 0)
    order = np.argsort(-counts, axis=1, kind="stable")
    counts, ids = (np.take_along_axis(a, order, axis=1) for a in (counts, in_order))
    counts[weights == 0] = 0
    return _from_counts(np.where(counts > 0, ids, 0).astype(np.int32), counts, weights, num_draws)


def _from_counts(
    ids: np.ndarray, counts: np.ndarray, weights: np.ndarray, num_draws: int
) -> StepDistributions:
    by_count = np.full(num_draws + 1, -np.inf)
    by_count[1:] = np.log(np.arange(1, num_draws + 1) / num_draws)
    logprobs = by_count.astype(np.float32)[counts]
    return StepDistributions(ids, logprobs, np.full(len(ids), -np.inf, np.float32), weights)
