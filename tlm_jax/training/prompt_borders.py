"""The student's rows with prompts that end as its teacher reads them."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Int

from tlm_jax.models import masks
from tlm_jax.models.config import ModelConfig
from tlm_jax.types import Batch


def with_border(batch: Batch, config: ModelConfig, border: tuple[int, int] | None) -> Batch:
    """Returns the batch with one token in place of another at the end of each prompt.

    Prompts that end with something else, as those that were cut, stay as they are.

    Args:
      batch: packed or not.
      config: the model that it was made for.
      border: what ends its prompts, EOS or the token of a line break, and what is to; None changes
        nothing.
    """
    if border is None:
        return batch
    if config.is_encoder_decoder:
        tokens = batch["encoder_input_tokens"]
        segments = masks.segments(tokens, batch.get("encoder_segment_ids"))
        last = (segments > 0) & (segments != _next(segments))
        return {**batch, "encoder_input_tokens": _replaced(tokens, last, border)}
    if "decoder_causal_attention" not in batch:
        return batch  # without prompts
    read, targets = batch["decoder_input_tokens"], batch["decoder_target_tokens"]
    segments = masks.segments(targets, batch.get("decoder_segment_ids"))
    attended = batch["decoder_causal_attention"] > 0
    # The last place that is marked reads the last token of the prompt.
    follows = (_next(attended.astype(jnp.int32)) > 0) & (segments == _next(segments))
    last = attended & ~follows
    before = (_next(last.astype(jnp.int32)) > 0) & (segments == _next(segments))
    return {
        **batch,
        "decoder_input_tokens": _replaced(read, last, border),
        "decoder_target_tokens": _replaced(targets, before, border),
    }


def _replaced(
    tokens: Int[Array, "B T"], where: Array, border: tuple[int, int]
) -> Int[Array, "B T"]:
    old, new = border
    return jnp.where(where & (tokens == old), new, tokens)


def _next(values: Int[Array, "B T"]) -> Int[Array, "B T"]:
    """Returns the value behind each one; 0 behind the last."""
    return jnp.pad(values[:, 1:], ((0, 0), (0, 1)))
