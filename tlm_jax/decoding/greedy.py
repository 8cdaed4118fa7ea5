"""Greedy decoding: every row takes its most probable next token."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from tlm_jax import models
from tlm_jax.decoding.generate import Decoded, generate
from tlm_jax.types import Batch, Params

Decoder = Callable[..., Decoded]
"""`decode(params, batch, prefix=None) -> Decoded`; the prefix is that of `generate`."""


def greedy(
    params: Params,
    batch: Batch,
    config: models.ModelConfig,
    *,
    max_decode_steps: int,
    eos_ids: tuple[int, ...],
    prefix: models.Prefix | None = None,
) -> Decoded:
    """Decodes greedily; of equally probable tokens the one with the least id is taken.

    Pure: `jit_greedy` gives the compiled function. Arguments and result as in `generate`.

    Source: agrees with t5x.decoding.temperature_sample at temperature 0, whose score is the sum of
    `logprobs`.
    """
    limits = {"max_decode_steps": max_decode_steps, "eos_ids": eos_ids}
    return generate(params, batch, config, _most_probable, **limits, prefix=prefix)


def jit_greedy(
    config: models.ModelConfig, *, max_decode_steps: int, eos_ids: tuple[int, ...]
) -> Decoder:
    """Returns the compiled function: one program for each shape of prompts, and of a prefix.

    Pad prompts to few lengths (`buckets`) to compile few times. The returned function remembers
    the sharding rules it was first called under, so call it under one `use_rules` only.
    """

    limits = {"max_decode_steps": max_decode_steps, "eos_ids": eos_ids}

    def decode(params: Params, batch: Batch, prefix: models.Prefix | None = None) -> Decoded:
        return greedy(params, batch, config, **limits, prefix=prefix)

    return jax.jit(decode)


def _most_probable(logits: Float[Array, "B V"], step: Int[Array, ""]) -> Int[Array, "B"]:
    del step  # the choice does not change as the text grows
    return jnp.argmax(logits, axis=-1)
