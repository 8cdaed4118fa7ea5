"""The encoding `topk`: the most probable candidates, and the mass outside them."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np

from tlm_jax.errors import UserError
from tlm_jax.teacher_cache.checked_steps import MIN_LOGPROB_NATS, checked_counts
from tlm_jax.teacher_cache.encoding import Quantised, SparseEncoding
from tlm_jax.teacher_cache.sparse_symbols import DecodedSymbols
from tlm_jax.teacher_cache.steps import StepDistributions

LEVEL_NATS = 5 / 512
"""A level's log-probability is -LEVEL_NATS * level, before normalisation; exact in float32."""

_DECODED_STEPS = 4096


@dataclasses.dataclass(frozen=True)
class TopK(SparseEncoding):
    """Keeps C candidates a step, or the fewest that reach a mass.

    Log-probabilities are rounded to whole levels (an error of at most half a level), and each
    step is normalised when it is read (another half): at most `LEVEL_NATS`, and float32 rounding,
    for candidates and tail alike. Probabilities and tail of what is read sum to 1.

    Attributes:
      num_candidates: C, the most that a step keeps; the others' mass goes to the tail.
      mass: keep the fewest candidates whose probabilities sum to this much; None keeps C.
    """

    name: ClassVar[str] = "topk"
    max_error_nats: ClassVar[float] = 0.01

    num_candidates: int
    mass: float | None = None

    def __post_init__(self):
        if not 1 <= self.num_candidates <= 65_536:
            raise UserError(f"topk: num_candidates must be 1 to 65,536, got {self.num_candidates}.")
        if self.mass is not None and not 0 < self.mass <= 1:
            raise UserError(f"topk: mass must be above 0 and at most 1, got {self.mass}.")

    @property
    def max_candidates(self) -> int:
        return self.num_candidates

    def quantise(self, steps: StepDistributions, vocabulary_size: int) -> Quantised:
        counts = checked_counts(steps, vocabulary_size)
        present = np.arange(steps.ids.shape[1]) < counts[:, None]
        logprobs = np.where(present, steps.logprobs.astype(np.float64), -np.inf)
        order = np.argsort(-logprobs, axis=1, kind="stable")
        logprobs, ids = (np.take_along_axis(a, order, axis=1) for a in (logprobs, steps.ids))
        # In logarithms, for a tail may be less probable than any float.
        kept_steps = counts > 0
        tail = np.where(kept_steps, steps.tail_logprobs.astype(np.float64), -np.inf)
        total = np.logaddexp(_log_sum(logprobs), tail)
        total[~kept_steps] = 0
        logprobs -= total[:, None]
        kept = np.minimum(counts, self._kept(np.exp(logprobs)))
        beyond = np.arange(ids.shape[1]) >= kept[:, None]
        cut = _log_sum(np.where(beyond, logprobs, -np.inf))
        tail = np.logaddexp(tail - total, cut)
        levels = np.where(beyond, 0, np.rint(logprobs / -LEVEL_NATS))
        has_tail = tail > MIN_LOGPROB_NATS
        tails = np.where(has_tail, 1 + np.maximum(np.rint(tail / -LEVEL_NATS), 0), 0)
        # A sum of 1 up to rounding may leave a logarithm just above 0.
        return Quantised(kept, ids, np.maximum(levels, 0).astype(np.int64), tails.astype(np.int64))

    def _kept(self, probabilities: np.ndarray) -> np.ndarray:
        if self.mass is None:
            return np.full(len(probabilities), self.num_candidates)
        # Sums of float32 probabilities fall short of a mass of 1 by rounding.
        short = np.cumsum(probabilities, axis=1) < self.mass - 1e-6
        return np.minimum(1 + short.sum(1), self.num_candidates)

    def restore(self, symbols: DecodedSymbols) -> StepDistributions:
        logprobs = np.empty(symbols.levels.shape, np.float32)
        tails = np.empty(len(symbols.tails), np.float32)
        for start in range(0, len(tails), _DECODED_STEPS):
            here = slice(start, start + _DECODED_STEPS)
            _restore(symbols, here, logprobs[here], tails[here])
        weights = (symbols.counts > 0).astype(np.float32)
        return StepDistributions(symbols.ids, logprobs, tails, weights)


def _restore(symbols: DecodedSymbols, here: slice, logprobs: np.ndarray, tails: np.ndarray) -> None:
    """Fills `logprobs` and `tails` for the steps `here`."""
    level = np.float32(-LEVEL_NATS)
    np.multiply(symbols.levels[here], level, out=logprobs)
    np.multiply(symbols.tails[here] - 1, level, out=tails)
    tails[symbols.tails[here] == 0] = -np.inf
    counts = symbols.counts[here]
    if counts.min(initial=logprobs.shape[1]) < logprobs.shape[1]:
        logprobs[np.arange(logprobs.shape[1]) >= counts[:, None]] = -np.inf
    total = np.exp(logprobs).sum(axis=1)
    total += np.exp(tails)
    total[counts == 0] = 1
    np.log(total, out=total)
    logprobs -= total[:, None]
    tails -= total


def _log_sum(logprobs: np.ndarray) -> np.ndarray:
    """Returns the logarithm of each row's sum; several times faster than `np.logaddexp.reduce`."""
    top = np.maximum(logprobs.max(axis=1, initial=-np.inf), MIN_LOGPROB_NATS - 1)
    with np.errstate(divide="ignore"):
        return top + np.log(np.exp(logprobs - top[:, None]).sum(axis=1))
