"""The distillation objective: a student against a cached or a live teacher."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from tlm_jax import models
from tlm_jax.losses import fused
from tlm_jax.losses.distillation import Distillation, effective_weights
from tlm_jax.losses.reduction import LossOutput, loss_weights_and_normalizer
from tlm_jax.losses.teachers import DenseTeacher, SparseTeacher, Teacher, teacher_of
from tlm_jax.losses.top_candidates import top_candidates
from tlm_jax.training.step import Objective
from tlm_jax.training.teacher_batch import teacher_batch
from tlm_jax.types import Batch, Params, Unembedding


@dataclass(frozen=True)
class DistillationObjective:
    """What a student is trained by, beside a teacher.

    Attributes:
      distillation: the divergence, on what part of the vocabulary, and its share of the loss.
      normalization: what divides the batch's sum, by T5X's names; see
        `losses.reduction.loss_weights_and_normalizer`.
      chunk_tokens: how many tokens' logits exist at a time on a device.
    """

    distillation: Distillation = field(default_factory=Distillation)
    normalization: str | float | None = "NUM_REAL_TARGET_TOKENS"
    chunk_tokens: int = 256


class StudentAndTeacher(NamedTuple):
    """The parameters that a distillation objective is given.

    Attributes:
      student: its parameters; gradients are taken of these alone.
      teacher: what the teacher needs on the devices: nothing (None) for cached candidates, an
        `Unembedding` for cached hidden states, a `LiveArrays` for a live teacher.
    """

    student: Params
    teacher: Any


class LiveArrays(NamedTuple):
    """A live teacher's arrays.

    Attributes:
      params: its parameters.
      student_ids: the student's id for each of the teacher's, -1 where it has none; None where both
        share a vocabulary.
    """

    params: Params
    student_ids: Int[Array, " V"] | None = None


@dataclass(frozen=True)
class LiveModel:
    """A live teacher's model.

    Attributes:
      config: its architecture.
      num_candidates: how many of its most probable tokens are mapped to another vocabulary.
    """

    config: models.ModelConfig
    num_candidates: int = 64


AskTeacher = Callable[[Any, Batch], Teacher]
"""`ask(arrays, batch)`: what the teacher says about a batch."""


def distillation(
    config: models.ModelConfig,
    loss: DistillationObjective,
    *,
    live: LiveModel | None = None,
    batch_rows: int | None = None,
) -> Objective:
    """Returns the objective of a student and its teacher; logits never exist as [B, T, V].

    Its parameters are a `StudentAndTeacher`. The teacher's part takes no gradient and no dropout.

    Args:
      config: the student.
      loss: the settings.
      live: the teacher's model where it runs in the step; None where its rows are cached, in the
        batch.
      batch_rows: rows of the whole batch, where the objective sees micro-batches of it.
    """
    ask = teacher_of_batch if live is None else live_teacher(config, live, loss.chunk_tokens)

    def objective(
        params: StudentAndTeacher, batch: Batch, dropout_rng: jax.Array | None
    ) -> LossOutput:
        said = ask(jax.lax.stop_gradient(params.teacher), batch)
        weights, _ = loss_weights_and_normalizer(None, batch)
        counted = {
            **batch,
            "decoder_loss_weights": effective_weights(weights, said, loss.distillation),
        }
        weights, normalizer = loss_weights_and_normalizer(
            loss.normalization, counted, batch_rows=batch_rows
        )
        output = fused.distillation_from_hidden(
            models.hidden_states(params.student, batch, config, dropout_rng=dropout_rng),
            models.unembedding(params.student, config),
            batch["decoder_target_tokens"],
            weights,
            said,
            loss.distillation,
            chunk_tokens=loss.chunk_tokens,
        )
        return output.with_normalizer(normalizer)

    return objective


def teacher_of_batch(unembedding: Unembedding | None, batch: Batch) -> Teacher:
    """Returns the cached teacher whose features the batch carries."""
    return teacher_of(batch, unembedding)


def live_teacher(student: models.ModelConfig, live: LiveModel, chunk_tokens: int) -> AskTeacher:
    """Returns the teacher that runs in the step.

    With the student's vocabulary it reads the student's batch, and its full distributions count.
    With another one it reads the batch's `teacher/...` features, its own tokens of the same
    examples; `teacher_steps` [B, T] says at which of its positions it predicts each of the
    student's targets, -1 for none; and its `num_candidates` most probable tokens are mapped, the
    mass of the others and of what the student has no token for being the tail.
    """

    def same_vocabulary(arrays: LiveArrays, batch: Batch) -> DenseTeacher:
        length = batch["decoder_target_tokens"].shape[1]
        own = teacher_batch(batch, student, live.config)
        hidden = models.hidden_states(arrays.params, own.batch, live.config)
        hidden = hidden[:, own.start : own.start + length]
        weights = (batch["decoder_loss_weights"] != 0).astype(jnp.float32)
        return DenseTeacher(hidden, models.unembedding(arrays.params, live.config), weights)

    def other_vocabulary(arrays: LiveArrays, batch: Batch) -> SparseTeacher:
        own = {
            name.removeprefix(PREFIX): array
            for name, array in batch.items()
            if name.startswith(PREFIX)
        }
        hidden = models.hidden_states(arrays.params, own, live.config)
        steps = batch["teacher_steps"]
        hidden = jnp.take_along_axis(hidden, jnp.maximum(steps, 0)[:, :, None], axis=1)
        found = top_candidates(
            hidden,
            models.unembedding(arrays.params, live.config),
            (steps >= 0).astype(jnp.float32),
            live.num_candidates,
            chunk_tokens=chunk_tokens,
        )
        assert arrays.student_ids is not None
        return _mapped(found, arrays.student_ids)

    def ask(arrays: LiveArrays, batch: Batch) -> Teacher:
        one = same_vocabulary if arrays.student_ids is None else other_vocabulary
        return jax.lax.stop_gradient(one(arrays, batch))

    return ask


PREFIX = "teacher/"
"""Begins the names of a live teacher's own features in a batch."""


def _mapped(teacher: SparseTeacher, student_ids: Int[Array, " V"]) -> SparseTeacher:
    """Returns candidates by the student's ids; what it has no token for joins the tail."""
    ids = student_ids[teacher.token_ids]
    lost = ids < 0
    outside = jnp.where(lost, teacher.logprobs, -jnp.inf)
    tail = jnp.logaddexp(teacher.tail_logprobs, jax.nn.logsumexp(outside, axis=-1))
    return teacher._replace(
        token_ids=jnp.where(lost, 0, ids),
        logprobs=jnp.where(lost, -jnp.inf, teacher.logprobs),
        tail_logprobs=tail,
    )
