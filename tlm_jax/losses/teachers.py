"""A teacher's distributions over a batch's target tokens, in the forms that losses read."""

from __future__ import annotations

from typing import NamedTuple

import jax
from jaxtyping import Array, Float, Int

from tlm_jax.errors import UserError
from tlm_jax.types import Batch, Unembedding


class SparseTeacher(NamedTuple):
    """C candidates a token, and the mass of all others; constants, as every teacher.

    Candidates of a token are distinct. A log-probability of -inf marks padding, whose id is not
    read. `exp(logprobs).sum() + exp(tail_logprobs)` is 1, except in the un-normalised form, whose
    tail is -inf and whose sum is at most 1. In the sampled form the log-probabilities are
    log(count / N) and the tail is -inf.
    """

    token_ids: Int[Array, "B T C"]
    logprobs: Float[Array, "B T C"]
    tail_logprobs: Float[Array, "B T"]
    weights: Float[Array, "B T"]
    """1 where the teacher says something about the token, else 0."""


class DenseTeacher(NamedTuple):
    """The teacher's last hidden states and the map from them to logits over the same vocabulary."""

    hidden: Float[Array, "B T E"]
    unembedding: Unembedding
    weights: Float[Array, "B T"]
    """As of `SparseTeacher`."""


class LogitsTeacher(NamedTuple):
    """The teacher's logits themselves, for small vocabularies and tests: they are [B, T, V]."""

    logits: Float[Array, "B T V"]
    weights: Float[Array, "B T"]
    """As of `SparseTeacher`."""


Teacher = SparseTeacher | DenseTeacher | LogitsTeacher


def teacher_of(batch: Batch, unembedding: Unembedding | None = None) -> Teacher:
    """Returns the teacher whose features a batch holds.

    Args:
      batch: `teacher_token_ids`, `teacher_logprobs`, `teacher_tail_logprobs`, `teacher_weights`,
        or `teacher_hidden`, `teacher_weights`.
      unembedding: the teacher's, which `teacher_hidden` needs.

    Raises:
      UserError: features are missing.
    """
    if "teacher_hidden" in batch:
        if unembedding is None:
            raise UserError(
                "the batch has teacher_hidden, but no teacher's unembedding was given: open the "
                "cache that the hidden states come from"
            )
        return DenseTeacher(batch["teacher_hidden"], unembedding, batch["teacher_weights"])
    missing = [name for name in _SPARSE if name not in batch]
    if missing:
        raise UserError(
            f"the batch has no {', '.join(missing)}: distillation needs a task with a teacher "
            "(TASK_with_teacher) or a live teacher"
        )
    return SparseTeacher(*(batch[name] for name in _SPARSE))


_SPARSE = ("teacher_token_ids", "teacher_logprobs", "teacher_tail_logprobs", "teacher_weights")


def dense_logits(teacher: DenseTeacher | LogitsTeacher) -> Float[Array, "B T V"]:
    """Returns the teacher's logits, through which no gradient flows."""
    if isinstance(teacher, LogitsTeacher):
        return jax.lax.stop_gradient(teacher.logits)
    return jax.lax.stop_gradient(teacher.unembedding.logits(teacher.hidden))
