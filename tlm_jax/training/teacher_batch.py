"""A student's batch as a teacher of the other architecture reads it, with one vocabulary."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from tlm_jax.models import masks
from tlm_jax.models.config import ModelConfig
from tlm_jax.types import Batch


class TeacherBatch(NamedTuple):
    """What a teacher reads.

    Attributes:
      batch: the teacher's features.
      start: the teacher's hidden state of the student's target position t stands at `start + t`.
    """

    batch: Batch
    start: int


def teacher_batch(batch: Batch, student: ModelConfig, teacher: ModelConfig) -> TeacherBatch:
    """Returns the same examples, in the same rows and segments, for the teacher's architecture.

    Nothing is moved: an encoder-decoder's inputs and targets stand one after the other, with the
    padding of the inputs between them, and of a decoder-only row the prompt and the answer are each
    blanked out on one side. Segments hide the padding, and positions count without it. The teacher
    starts where the student does, with the token that the converters put there.

    Args:
      batch: of the student, packed or not.
      student: its model.
      teacher: the teacher's.
    """
    if student.architecture == teacher.architecture:
        return TeacherBatch(batch, 0)
    return _joined(batch) if student.is_encoder_decoder else _divided(batch)


def _joined(batch: Batch) -> TeacherBatch:
    """Encoder and decoder features as one sequence each row: [B, S] and [B, T] to [B, S + T]."""
    inputs, targets = batch["encoder_input_tokens"], batch["decoder_target_tokens"]
    of_input = masks.segments(inputs, batch.get("encoder_segment_ids"))
    of_target = masks.segments(targets, batch.get("decoder_segment_ids"))
    starts_input, starts_target = _is_first(of_input), _is_first(of_target)
    bos = batch["decoder_input_tokens"][:, :1]

    # The first target is predicted from the last input of its segment, wherever that stands.
    own = masks.same_segment(of_target, of_input)  # [B, T, S]
    lengths = jnp.sum(own, axis=-1)
    last = jnp.max(jnp.where(own, jnp.arange(inputs.shape[1])[None, None], 0), axis=-1)
    before = jnp.take_along_axis(inputs, last, axis=1)
    read_input = jnp.where(starts_input, bos, _shifted(inputs))
    first_read = jnp.where(lengths > 0, before, bos)
    read_target = jnp.where(starts_target, first_read, _shifted(targets))

    joined = {
        "decoder_input_tokens": (read_input, read_target),
        "decoder_target_tokens": (inputs, targets),
        "decoder_segment_ids": (of_input, of_target),
        "decoder_positions": (_count(of_input), lengths + _count(of_target)),
        "decoder_causal_attention": (of_input > 0, starts_target),
    }
    return TeacherBatch(
        {name: jnp.concatenate(pair, 1).astype(jnp.int32) for name, pair in joined.items()},
        inputs.shape[1],
    )


def _divided(batch: Batch) -> TeacherBatch:
    """A decoder-only row [B, T] as an encoder's and a decoder's, each as long as the row."""
    tokens = batch["decoder_target_tokens"]
    segments = masks.segments(tokens, batch.get("decoder_segment_ids"))
    attended = batch["decoder_causal_attention"] > 0
    # The mark covers the prompt and the first target, so what it covers next is prompt here.
    follows = jnp.pad(attended[:, 1:], ((0, 0), (0, 1)))
    same = jnp.pad(segments[:, 1:], ((0, 0), (0, 1))) == segments
    prompt = attended & follows & same & (segments > 0)
    of_input, of_target = jnp.where(prompt, segments, 0), jnp.where(prompt, 0, segments)
    first = _is_first(of_target)
    bos = batch["decoder_input_tokens"][:, :1]  # every segment begins with it
    return TeacherBatch(
        {
            "encoder_input_tokens": jnp.where(prompt, tokens, 0),
            "encoder_segment_ids": of_input,
            "encoder_positions": _count(of_input),
            "decoder_input_tokens": jnp.where(
                first, bos, jnp.where(of_target > 0, batch["decoder_input_tokens"], 0)
            ),
            "decoder_target_tokens": jnp.where(prompt, 0, tokens),
            "decoder_segment_ids": of_target,
            "decoder_positions": _count(of_target),
        },
        0,
    )


def _shifted(tokens: Int[Array, "B T"]) -> Int[Array, "B T"]:
    """Returns the token before each one; 0 before the first."""
    return jnp.pad(tokens[:, :-1], ((0, 0), (1, 0)))


def _is_first(segments: Int[Array, "B T"]) -> Array:
    """Tells the first position of each segment."""
    return (segments > 0) & (segments != _shifted(segments))


def _count(segments: Int[Array, "B T"]) -> Int[Array, "B T"]:
    """Returns positions that restart from 0 with each segment; 0 at padding."""
    rows = jnp.broadcast_to(jnp.arange(segments.shape[1]), segments.shape)
    starts = jnp.where(_is_first(segments), rows, 0)
    restarted = jax.lax.cummax(starts, axis=1)
    return jnp.where(segments > 0, rows - restarted, 0)
