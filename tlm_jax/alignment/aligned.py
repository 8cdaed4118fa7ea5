"""Alignments of two tokenizations of a text."""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Int32, Integer


@dataclasses.dataclass(frozen=True, eq=False)
class Alignment:
    """For each of m student tokens the teacher steps aligned to it.

    Attributes:
      starts: where the steps of a student token begin in `steps`.
      counts: how many it has; 0 where no teacher token corresponds to it.
      steps: teacher steps, ascending within a student token and from one to the next.
      cost: what the method minimises; 0 where the texts agree. `dtw`: the sum of edit distances
        along the path, infinite where one side has no token. `offsets`: bytes of either text that
        the other lacks, whitespace aside.
    """

    starts: Int32[np.ndarray, " m"]
    counts: Int32[np.ndarray, " m"]
    steps: Int32[np.ndarray, " s"]
    cost: float

    def steps_of(self, j: int) -> list[int]:
        """Returns the teacher steps aligned to student token `j`."""
        return self.steps[self.starts[j] : self.starts[j] + self.counts[j]].tolist()

    def with_token(self, step: int | None) -> Alignment:
        """Returns the alignment with one more student token, aligned to `step` or to nothing."""
        added = [] if step is None else [step]
        return Alignment(
            starts=np.append(self.starts, np.int32(len(self.steps))),
            counts=np.append(self.counts, np.int32(len(added))),
            steps=np.append(self.steps, np.array(added, np.int32)),
            cost=self.cost,
        )


def unaligned(num_student: int, cost: float) -> Alignment:
    """Returns the alignment of `num_student` tokens to nothing."""
    nothing = np.zeros(num_student, np.int32)
    return Alignment(nothing, nothing, np.zeros(0, np.int32), cost)


def one_to_one(num_tokens: int) -> Alignment:
    """Returns the alignment of each token to the step of the same place."""
    places = np.arange(num_tokens, dtype=np.int32)
    return Alignment(places, np.ones(num_tokens, np.int32), places, 0.0)


def split_ranges(
    first: Integer[np.ndarray, " tokens"],
    counts: Integer[np.ndarray, " tokens"],
    lengths: Integer[np.ndarray, " texts"],
    costs: Integer[np.ndarray, " texts"],
) -> list[Alignment]:
    """Returns the alignments of several texts, whose tokens stand one after another.

    Args:
      first: the first step of each student token, counted within its text.
      counts: how many steps follow each other from there.
      lengths: student tokens of each text.
      costs: of each text.
    """
    ends = np.cumsum(counts)
    starts = ends - counts
    steps = (np.repeat(first - starts, counts) + np.arange(int(counts.sum()))).astype(np.int32)
    token_ends = np.cumsum(lengths)
    token_starts = token_ends - lengths
    step_starts = np.concatenate(([0], ends))[token_starts]
    step_ends = np.concatenate(([0], ends))[token_ends].tolist()
    starts = (starts - np.repeat(step_starts, lengths)).astype(np.int32)
    counts = counts.astype(np.int32)
    return [
        Alignment(starts[a:b], counts[a:b], steps[c:d], cost)
        for a, b, c, d, cost in zip(
            token_starts.tolist(),
            token_ends.tolist(),
            step_starts.tolist(),
            step_ends,
            costs.astype(float).tolist(),
        )
    ]
