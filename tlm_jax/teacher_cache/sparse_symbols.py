"""Sparse distributions as whole numbers: what is left of them once they are quantised."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int32, Int64

from tlm_jax.ragged import exclusive_cumsum

DIGEST_BYTES = 8


@dataclasses.dataclass(frozen=True)
class SparseSymbols:
    """T steps, of one row or of several one after another.

    Attributes:
      token_ids: what was scored.
      counts: the number of candidates of each step; 0 where the step was dropped.
      ids: the candidates of all steps in turn, distinct within a step.
      levels: what the encoding makes of each candidate's probability: 0 or more, not decreasing
        within a step.
      tails: 0 where a step has no mass outside its candidates, else 1 + its level.
    """

    token_ids: Int32[np.ndarray, " T"]
    counts: Int32[np.ndarray, " T"]
    ids: Int32[np.ndarray, " n"]
    levels: Int32[np.ndarray, " n"]
    tails: Int32[np.ndarray, " T"]

    def digest(self) -> bytes:
        """Returns 8 bytes that stand for the content, however it is coded."""
        hashed = hashlib.blake2b(digest_size=DIGEST_BYTES)
        for field in dataclasses.fields(self):
            values = getattr(self, field.name)
            hashed.update(len(values).to_bytes(8, "little"))
            hashed.update(values.astype("<i4").tobytes())
        return hashed.digest()

    @classmethod
    def concatenate(cls, rows: Sequence[SparseSymbols]) -> SparseSymbols:
        """Puts the steps of all rows one after another."""
        names = [field.name for field in dataclasses.fields(cls)]
        return cls(*(np.concatenate([getattr(row, name) for row in rows]) for name in names))

    def places(self) -> Int64[np.ndarray, " T"]:
        """Returns which candidate the scored token is, from 0; the step's count if it is none."""
        places = self.counts.astype(np.int64)
        found = np.flatnonzero(self.ids == np.repeat(self.token_ids, self.counts))
        steps = np.repeat(np.arange(len(places)), self.counts)[found]
        places[steps] = found - exclusive_cumsum(places.copy())[steps]
        return places

    def columns(self) -> Int64[np.ndarray, " n"]:
        """Returns the place of every candidate within its step."""
        starts = exclusive_cumsum(self.counts.astype(np.int64))
        return np.arange(len(self.ids)) - np.repeat(starts, self.counts)

    def gaps(self) -> Int64[np.ndarray, " n"]:
        """Returns each level less the one before it in its step; the first of a step as it is."""
        levels = self.levels.astype(np.int64)
        gaps = np.diff(levels, prepend=0)
        firsts = self.columns() == 0
        gaps[firsts] = levels[firsts]
        return gaps


@dataclasses.dataclass(frozen=True)
class DecodedSymbols:
    """N steps as tables of C columns; columns from a step's count on are 0.

    Attributes:
      token_ids, counts, tails: as of `SparseSymbols`.
      ids: the candidates.
      levels: their levels.
    """

    token_ids: Int32[np.ndarray, " N"]
    counts: Int32[np.ndarray, " N"]
    ids: Int32[np.ndarray, "N C"]
    levels: Int32[np.ndarray, "N C"]
    tails: Int32[np.ndarray, " N"]
