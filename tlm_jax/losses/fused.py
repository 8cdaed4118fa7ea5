"""Losses straight from hidden states, so that [tokens, V] logits never exist at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Num

from tlm_jax.losses.chunks import ChunkLoss
from tlm_jax.losses.columns import Columns
from tlm_jax.losses.cross_entropy import TokenStatistics, cross_entropy, token_statistics
from tlm_jax.losses.distillation import (
    Distillation,
    DistillationStatistics,
    distillation_loss,
    distillation_statistics,
)
from tlm_jax.losses.reduction import LossOutput
from tlm_jax.losses.sweep import gathered, loss_in_chunks
from tlm_jax.losses.teachers import DenseTeacher, LogitsTeacher, Teacher
from tlm_jax.types import Unembedding


def cross_entropy_from_hidden(
    hidden: Float[Array, "B T D"],
    unembedding: Unembedding,
    targets: Int[Array, "B T"],
    weights: Num[Array, "B T"],
    *,
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    chunk_tokens: int = 512,
    second_sweep: bool = True,
) -> LossOutput:
    """Returns what `cross_entropy` does of `unembedding.logits(hidden)`, in chunks.

    The T axis is cut into chunks of about `chunk_tokens` tokens on each device, and the logits of
    one chunk at a time exist, forwards and backwards: when differentiated, the gradients of
    hidden states, matrix and bias are taken within the forward sweep, while a chunk's logits are
    at hand, and only scaled in the backward pass. No product is computed twice, but where
    `second_sweep` says so. Undifferentiated, no gradient is computed.

    Gradients flow through the loss to hidden states, `unembedding.matrix` and `unembedding.bias`;
    the weights and the metrics are constants.

    Args:
      hidden: the model's last hidden states.
      unembedding: `[D, V]` matrix, scale, soft cap and bias. Where it is narrower than float32,
        so are the operands of the products; accumulation is float32.
      targets: token ids; those of weight 0 may be anything in [0, V).
      weights: 0 leaves a token out of loss, gradient and metrics.
      label_smoothing: as in `cross_entropy`.
      z_loss: as in `cross_entropy`.
      chunk_tokens: how many tokens' logits exist at once on a device; at least one position of
        every row.
      second_sweep: where the matrix is narrower than float32, compute the logits twice rather than
        keep a float32 sum of its gradient; see `losses.second_sweep`.
    """

    def output(logits: Array, inputs: Any, shared: Any, columns: Columns) -> LossOutput:
        del shared
        return cross_entropy(
            logits, *inputs, label_smoothing=label_smoothing, z_loss=z_loss, columns=columns
        )

    def statistics(logits: Array, inputs: Any, shared: Any) -> TokenStatistics:
        del shared
        return token_statistics(logits, inputs[0], label_smoothing=label_smoothing)

    loss = ChunkLoss(output, statistics, lambda inputs, shared, take: (inputs, shared))
    inputs = (targets, weights.astype(jnp.float32))
    return loss_in_chunks(
        loss,
        hidden,
        unembedding,
        inputs,
        None,
        chunk_tokens=chunk_tokens,
        second_sweep=second_sweep,
    )


def distillation_from_hidden(
    hidden: Float[Array, "B T D"],
    unembedding: Unembedding,
    targets: Int[Array, "B T"],
    weights: Num[Array, "B T"],
    teacher: Teacher,
    settings: Distillation,
    *,
    chunk_tokens: int = 512,
    second_sweep: bool = True,
) -> LossOutput:
    """Returns what `distillation_loss` does of `unembedding.logits(hidden)`, in chunks.

    As `cross_entropy_from_hidden`, whose sweep it is. Of a `DenseTeacher` a chunk's logits are
    computed beside the student's; no gradient goes to the teacher.

    Args:
      hidden: the student's last hidden states.
      unembedding: the student's.
      targets: token ids, for the cross entropy; those of weight 0 may be anything in [0, V).
      weights: 0 leaves a token out of loss, gradient and metrics.
      teacher: what the teacher says of the targets.
      settings: as in `distillation_loss`.
      chunk_tokens: how many tokens' logits (student's, and those of a dense teacher) exist at once
        on a device; at least one position of every row.
      second_sweep: as in `cross_entropy_from_hidden`; a dense teacher's logits too.
    """
    kind = type(teacher)
    if isinstance(teacher, DenseTeacher):
        teacher_rows, shared = (teacher.hidden, teacher.weights), gathered(teacher.unembedding)
    else:
        teacher_rows, shared = tuple(teacher), None

    def teacher_of_chunk(teacher_rows: Any, shared: Any) -> Teacher:
        return (
            DenseTeacher(teacher_rows[0], shared, teacher_rows[1])
            if kind is DenseTeacher
            else kind(*teacher_rows)
        )

    def output(logits: Array, inputs: Any, shared: Any, columns: Columns) -> LossOutput:
        targets, weights, teacher_rows = inputs
        teacher = teacher_of_chunk(teacher_rows, shared)
        return distillation_loss(logits, targets, weights, teacher, settings, columns=columns)

    def statistics(logits: Array, inputs: Any, shared: Any) -> DistillationStatistics:
        targets, _, teacher_rows = inputs
        return distillation_statistics(
            logits, targets, teacher_of_chunk(teacher_rows, shared), settings
        )

    def narrowed(inputs: Any, shared: Any, take: Callable[[Array], Array]) -> tuple[Any, Any]:
        targets, weights, teacher_rows = inputs
        if kind is LogitsTeacher:
            teacher_rows = (take(teacher_rows[0]), teacher_rows[1])
        if shared is not None:
            bias = None if shared.bias is None else take(shared.bias)
            shared = shared._replace(matrix=take(shared.matrix), bias=bias)
        return (targets, weights, teacher_rows), shared

    loss = ChunkLoss(output, statistics, narrowed)
    inputs = (targets, weights.astype(jnp.float32), teacher_rows)
    return loss_in_chunks(
        loss,
        hidden,
        unembedding,
        inputs,
        shared,
        chunk_tokens=chunk_tokens,
        second_sweep=second_sweep,
    )
