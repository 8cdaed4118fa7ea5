"""Candidates of soft tokens on their way from the teacher's vocabulary to the student's."""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Bool, Float64, Int, Int32

from tlm_jax.teacher_cache.steps import StepDistributions


@dataclasses.dataclass(frozen=True)
class Candidates:
    """Candidates of the soft tokens: ids, or -1, probabilities, and the mass of all others."""

    ids: Int32[np.ndarray, "k C"]
    probabilities: Float64[np.ndarray, "k C"]
    tail: Float64[np.ndarray, " k"]

    @classmethod
    def of(
        cls,
        mapped: Int32[np.ndarray, "k C"],
        steps: StepDistributions,
        taken: Int[np.ndarray, " k"],
        *,
        merge: bool,
    ) -> Candidates:
        """Returns the mapped candidates of the steps `taken`; what is lost joins the tail.

        Args:
          mapped: their student ids, or -1.
          steps: the teacher's distributions.
          taken: which of these, one a soft token.
          merge: candidates with the same student id add up; else the first counts.
        """
        probabilities = np.exp(steps.logprobs[taken].astype(np.float64))
        tail = np.exp(steps.tail_logprobs[taken].astype(np.float64)) + probabilities.sum(-1)
        ids = np.where(probabilities > 0, mapped, -1)
        in_order = np.sort(ids, axis=-1)
        repeated = (in_order[:, 1:] == in_order[:, :-1]) & (in_order[:, 1:] >= 0)
        rows = np.flatnonzero(repeated.any(-1))
        if len(rows):
            equal = (ids[rows, :, None] == ids[rows, None, :]) & (ids[rows, :, None] >= 0)
            if merge:
                probabilities[rows] = np.einsum("rcd,rd->rc", equal, probabilities[rows])
            is_first = equal.argmax(-1) == np.arange(ids.shape[1])
            ids[rows] = np.where(is_first, ids[rows], -1)
        probabilities[ids < 0] = 0
        return cls(ids, probabilities, np.maximum(tail - probabilities.sum(-1), 0))

    @property
    def kept_mass(self) -> Float64[np.ndarray, " k"]:
        return self.probabilities.sum(-1)

    def take(self, chosen: Bool[np.ndarray, " k"]) -> Candidates:
        """Returns the candidates of some tokens."""
        return Candidates(self.ids[chosen], self.probabilities[chosen], self.tail[chosen])

    def after(self, logprobs: Float64[np.ndarray, " k"]) -> Candidates:
        """Returns the candidates behind something that has these log-probabilities itself."""
        mass = np.exp(logprobs)
        return Candidates(
            self.ids, self.probabilities * mass[:, None], self.tail * mass + (1 - mass)
        )
