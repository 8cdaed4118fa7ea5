"""Teacher rows beside the student tokens of their texts, several joined to be mapped at once."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Int

from tlm_jax.alignment.aligned import Alignment
from tlm_jax.errors import UserError
from tlm_jax.teacher_cache.steps import StepDistributions

_LARGEST_SUM = 1.05
"""Of a step's probabilities, which rounding and quantisation may bring above 1."""


@dataclasses.dataclass(frozen=True, eq=False)
class AlignedRow:
    """One text as the teacher scored it and as the student writes it.

    Attributes:
      teacher_token_ids: what the teacher scored, EOS included where it was.
      steps: its distributions, one a token.
      alignment: of the student's tokens to these steps, EOS included where the student has it
        (see `Alignment.with_token`).
      student_token_ids: the student's tokens.
      name: what errors call it.
    """

    teacher_token_ids: Int[np.ndarray, " T"]
    steps: StepDistributions
    alignment: Alignment
    student_token_ids: Int[np.ndarray, " m"]
    name: str = "a teacher row"

    def __post_init__(self) -> None:
        num_steps, m = len(self.teacher_token_ids), len(self.student_token_ids)
        if num_steps != len(self.steps.weights):
            raise UserError(
                f"{self.name} has {num_steps} tokens but {len(self.steps.weights)} distributions; "
                "every scored token needs one."
            )
        if len(self.alignment.counts) != m:
            raise UserError(
                f"{self.name}: {len(self.alignment.counts)} student tokens were aligned but there "
                f"are {m}; the text was tokenized otherwise than when it was aligned."
            )
        if len(self.alignment.steps) and self.alignment.steps[-1] >= num_steps:
            raise UserError(
                f"{self.name}: the alignment names step {self.alignment.steps[-1]}, but there are "
                f"only {num_steps}."
            )


@dataclasses.dataclass(frozen=True, eq=False)
class JoinedRows:
    """Rows one after another, as if they were one; `alignment` counts steps through all of them.

    Attributes:
      is_first: student tokens that are the first of their text.
      lengths: student tokens of each row.
    """

    teacher_token_ids: Int[np.ndarray, " T"]
    steps: StepDistributions
    alignment: Alignment
    student_token_ids: Int[np.ndarray, " m"]
    is_first: Bool[np.ndarray, " m"]
    lengths: Int[np.ndarray, " rows"]


def join(rows: Sequence[AlignedRow], vocabulary_size: int) -> JoinedRows:
    """Returns the rows joined, candidates padded to the same number.

    Args:
      rows: at least one.
      vocabulary_size: of the teacher.

    Raises:
      UserError: ids that the vocabulary does not have; probabilities that sum to more than
        rounding explains.
    """
    width = max(1, max(row.steps.ids.shape[1] for row in rows))
    num_steps = np.array([len(row.teacher_token_ids) for row in rows])
    lengths = np.array([len(row.student_token_ids) for row in rows])
    num_aligned = np.array([len(row.alignment.steps) for row in rows])
    step_starts = np.cumsum(num_steps) - num_steps
    is_first = np.zeros(int(lengths.sum()), bool)
    is_first[(np.cumsum(lengths) - lengths)[lengths > 0]] = True
    joined = JoinedRows(
        teacher_token_ids=np.concatenate([row.teacher_token_ids for row in rows]),
        steps=StepDistributions(
            ids=np.concatenate([_widened(row.steps.ids, width, 0) for row in rows]),
            logprobs=np.concatenate([_widened(row.steps.logprobs, width, -np.inf) for row in rows]),
            tail_logprobs=np.concatenate([row.steps.tail_logprobs for row in rows]),
            weights=np.concatenate([row.steps.weights for row in rows]),
        ),
        alignment=Alignment(
            starts=_shifted(
                [row.alignment.starts for row in rows],
                np.repeat(np.cumsum(num_aligned) - num_aligned, lengths),
            ),
            counts=np.concatenate([row.alignment.counts for row in rows]),
            steps=_shifted(
                [row.alignment.steps for row in rows], np.repeat(step_starts, num_aligned)
            ),
            cost=sum(row.alignment.cost for row in rows),
        ),
        student_token_ids=np.concatenate([row.student_token_ids for row in rows]),
        is_first=is_first,
        lengths=lengths,
    )
    _check(joined, vocabulary_size, rows, step_starts)
    return joined


def _widened(array: np.ndarray, width: int, fill: int | float) -> np.ndarray:
    if array.shape[1] == width:
        return array
    return np.pad(array, ((0, 0), (0, width - array.shape[1])), constant_values=fill)


def _shifted(arrays: list[np.ndarray], by: np.ndarray) -> np.ndarray:
    return (np.concatenate(arrays) + by).astype(np.int32)


def _check(
    joined: JoinedRows,
    vocabulary_size: int,
    rows: Sequence[AlignedRow],
    step_starts: Int[np.ndarray, " rows"],
) -> None:
    def where(step: int) -> str:
        row = int(np.searchsorted(step_starts, step, side="right")) - 1
        return f"{rows[row].name}, step {step - step_starts[row]}"

    ids, steps = joined.teacher_token_ids, joined.steps
    outside = (steps.ids < 0) | (steps.ids >= vocabulary_size)
    wrong = np.flatnonzero((ids < 0) | (ids >= vocabulary_size) | outside.any(-1))
    if len(wrong):
        raise UserError(
            f"{where(int(wrong[0]))}: token ids that are not in the teacher's vocabulary of "
            f"{vocabulary_size}; another tokenizer wrote them."
        )
    sums = np.exp(steps.logprobs).sum(-1) + np.exp(steps.tail_logprobs)
    wrong = np.flatnonzero((steps.weights > 0) & ~(sums <= _LARGEST_SUM))
    if len(wrong):
        raise UserError(
            f"{where(int(wrong[0]))}: the probabilities sum to {sums[wrong[0]]:.3f}; expected at "
            "most 1 up to rounding. Are the logarithms natural ones?"
        )
