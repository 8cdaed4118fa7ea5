"""Prompts on the device: read once for all their samples, what many begin with once for all."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from tlm_jax import models
from tlm_jax.types import Batch, Params


class PromptPrefix(NamedTuple):
    """What many prompts begin with, once it has been read.

    Attributes:
      prefix: keys and values, which all rows read.
      seen: its tokens, for repetition penalties.
    """

    prefix: models.Prefix
    seen: Bool[Array, "1 V"]


class Prompts(NamedTuple):
    """Prompts that have been read.

    Attributes:
      cache: theirs, without room for more tokens, and without the prefix that they begin with.
      logits: of the first token to generate.
      seen: tokens of the prompt, those of the prefix too, for repetition penalties.
    """

    cache: models.Cache
    logits: Float[Array, "P V"]
    seen: Bool[Array, "P V"]


def read_prefix(params: Params, batch: Batch, config: models.ModelConfig) -> PromptPrefix:
    """Runs what many prompts begin with, `decoder_input_tokens` [1, P], once for all of them."""
    tokens, real = batch["decoder_input_tokens"], batch["decoder_causal_attention"] > 0
    seen = _seen(tokens, real, config.vocab_size)
    return PromptPrefix(models.read_prefix(params, tokens, real, config), seen)


def read_prompts(
    params: Params, batch: Batch, config: models.ModelConfig, before: PromptPrefix | None = None
) -> Prompts:
    """Runs prompts, or what follows their prefix, once for all their samples."""
    prefix = None if before is None else before.prefix
    cache, logits = models.prefill(params, batch, config, max_decode_steps=0, prefix=prefix)
    seen = jnp.zeros(logits.shape, bool)
    if not config.is_encoder_decoder:
        real = batch["decoder_causal_attention"] > 0
        seen = _seen(batch["decoder_input_tokens"], real, logits.shape[-1])
    if before is not None:
        seen |= before.seen
    return Prompts(cache, logits.astype(jnp.float32), seen)


def _seen(
    tokens: Int[Array, "P T"], real: Bool[Array, "P T"], vocab_size: int
) -> Bool[Array, "P V"]:
    # Padding goes beyond the vocabulary, where a scatter drops it.
    places = jnp.where(real, tokens, vocab_size)
    none = jnp.zeros((len(tokens), vocab_size), bool)
    return jax.vmap(lambda row, at: row.at[at].set(True, mode="drop"))(none, places)
