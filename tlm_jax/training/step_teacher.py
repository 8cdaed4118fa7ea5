"""The teacher of the step: one whose rows are in the batch, or a model that runs on it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from tlm_jax import models
from tlm_jax.losses.teachers import DenseTeacher, SparseTeacher, Teacher, teacher_of
from tlm_jax.losses.top_candidates import top_candidates
from tlm_jax.training.matching import InnerMatching
from tlm_jax.training.prompt_borders import with_border
from tlm_jax.training.teacher_batch import teacher_batch
from tlm_jax.types import Batch, Params, Unembedding


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
      border: what ends the student's prompts, and what ends the teacher's; None where it is the
        same, or the teacher has tokens of its own.
    """

    config: models.ModelConfig
    num_candidates: int = 64
    border: tuple[int, int] | None = None


class TeacherOutput(NamedTuple):
    """A teacher's distributions over a batch, and its inner states.

    Attributes:
      teacher: of the next tokens.
      inner: a live teacher's inner states at the student's places, as far as they are matched.
    """

    teacher: Teacher
    inner: models.InnerStates | None = None


AskTeacher = Callable[[Any, Batch], TeacherOutput]
"""`ask(arrays, batch)`."""


def teacher_of_batch(unembedding: Unembedding | None, batch: Batch) -> TeacherOutput:
    """Returns the cached teacher whose features the batch carries."""
    return TeacherOutput(teacher_of(batch, unembedding))


def live_teacher(
    student: models.ModelConfig,
    live: LiveModel,
    *,
    chunk_tokens: int,
    temperature: float = 1.0,
    matching: InnerMatching | None = None,
) -> AskTeacher:
    """Returns the teacher that runs in the step.

    With the student's vocabulary it reads the student's batch, prompts ended in its own way, and
    its full distributions count. With another one it reads the batch's `teacher/...` features, its
    own tokens of the same examples; `teacher_steps` [B, T] says at which of its positions it
    predicts each of the student's targets, -1 for none; and its `num_candidates` most probable
    tokens are mapped, the mass of the others and of what the student has no token for being the
    tail. Inner states are matched with the student's vocabulary only.

    Args:
      student: its model.
      live: the teacher's.
      chunk_tokens: how many tokens' logits exist at a time on a device.
      temperature: divides the teacher's logits where its candidates are taken here; whole
        distributions are divided by it where they are compared.
      matching: of inner states.
    """
    keeps = models.Keeps() if matching is None else matching.teacher_keeps()

    def same_vocabulary(arrays: LiveArrays, batch: Batch) -> TeacherOutput:
        length = batch["decoder_target_tokens"].shape[1]
        own = teacher_batch(with_border(batch, student, live.border), student, live.config)
        inner = models.layer_states(arrays.params, own.batch, live.config, keeps)
        places = slice(own.start, own.start + length)
        weights = (batch["decoder_loss_weights"] != 0).astype(jnp.float32)
        head = models.unembedding(arrays.params, live.config)
        teacher = DenseTeacher(inner.last[:, places], head, weights)
        if inner.decoder.hidden is not None:
            decoder = inner.decoder._replace(hidden=inner.decoder.hidden[:, :, places])
            inner = inner._replace(decoder=decoder)
        return TeacherOutput(teacher, inner)

    def other_vocabulary(arrays: LiveArrays, batch: Batch) -> TeacherOutput:
        hidden = models.hidden_states(arrays.params, own_features(batch), live.config)
        steps = batch["teacher_steps"]
        hidden = jnp.take_along_axis(hidden, jnp.maximum(steps, 0)[:, :, None], axis=1)
        found = top_candidates(
            hidden,
            models.unembedding(arrays.params, live.config),
            (steps >= 0).astype(jnp.float32),
            live.num_candidates,
            temperature=temperature,
            chunk_tokens=chunk_tokens,
        )
        assert arrays.student_ids is not None
        return TeacherOutput(mapped_candidates(found, arrays.student_ids))

    def ask(arrays: LiveArrays, batch: Batch) -> TeacherOutput:
        one = same_vocabulary if arrays.student_ids is None else other_vocabulary
        return jax.lax.stop_gradient(one(arrays, batch))

    return ask


PREFIX = "teacher/"
"""Begins the names of a live teacher's own features in a batch."""


def own_features(batch: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what a live teacher of another vocabulary reads of a batch, by a batch's names."""
    return {
        name.removeprefix(PREFIX): array for name, array in batch.items() if name.startswith(PREFIX)
    }


def mapped_candidates(teacher: SparseTeacher, student_ids: Int[Array, " V"]) -> SparseTeacher:
    """Returns candidates by the student's ids.

    Those of one student token (a teacher may have a piece and a byte of the same text) add up; what
    the student has no token for joins the tail.

    Args:
      teacher: candidates by the teacher's ids.
      student_ids: the student's id for each of the teacher's, -1 where it has none.
    """
    ids = student_ids[teacher.token_ids]
    order = jnp.argsort(ids, axis=-1)
    ids, logprobs = (jnp.take_along_axis(x, order, axis=-1) for x in (ids, teacher.logprobs))
    edge = jnp.full_like(ids[..., :1], -2)
    begins = ids != jnp.concatenate([edge, ids[..., :-1]], axis=-1)
    ends = ids != jnp.concatenate([ids[..., 1:], edge], axis=-1)
    _, sums = jax.lax.associative_scan(_added_within_runs, (begins, logprobs), axis=-1)
    outside = jnp.where(ends & (ids < 0), sums, -jnp.inf)
    kept = ends & (ids >= 0)
    return teacher._replace(
        token_ids=jnp.where(kept, ids, 0),
        logprobs=jnp.where(kept, sums, -jnp.inf),
        tail_logprobs=jnp.logaddexp(teacher.tail_logprobs, jax.nn.logsumexp(outside, axis=-1)),
    )


def _added_within_runs(a: tuple[Array, Array], b: tuple[Array, Array]) -> tuple[Array, Array]:
    """Adds probabilities from where a run begins; an associative operation."""
    return a[0] | b[0], jnp.where(b[0], b[1], jnp.logaddexp(a[1], b[1]))
