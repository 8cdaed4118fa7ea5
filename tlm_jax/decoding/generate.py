"""The generation loop: prefill once, then one cached decode step per token until all rows end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from tlm_jax import models
from tlm_jax.types import Batch, Params

Sampler = Callable[[Float[Array, "B V"], Int[Array, ""]], Int[Array, "B"]]
"""`sampler(logits, step) -> tokens`: chooses each row's token number `step` (from 0)."""


class Decoded(NamedTuple):
    """What was generated, right-padded; T is the largest number of tokens allowed.

    Attributes:
      tokens: chosen ids, the closing EOS included, then 0.
      logprobs: log-probability in nats that the model itself (no temperature, no truncation) gave
        to each chosen token, then 0.0. A row's sum is the log-probability of its text.
      lengths: number of tokens of each row, EOS included.
      finished: whether the row ended with EOS rather than at the limit.
    """

    tokens: Int[Array, "B T"]
    logprobs: Float[Array, "B T"]
    lengths: Int[Array, "B"]
    finished: Bool[Array, "B"]


def generate(
    params: Params,
    batch: Batch,
    config: models.ModelConfig,
    sampler: Sampler,
    *,
    max_decode_steps: int,
    eos_ids: tuple[int, ...],
    prefix: models.Prefix | None = None,
) -> Decoded:
    """Generates up to `max_decode_steps` tokens for each row; pure, to be jitted by the caller.

    The prompt of an encoder-decoder is `encoder_input_tokens`. That of a decoder-only model is
    `decoder_input_tokens` where `decoder_causal_attention` is 1; prompts of different lengths are
    padded on the right, and what follows a prompt is ignored.

    Args:
      params: the model's parameters.
      batch: the prompts.
      config: the model's configuration.
      sampler: chooses tokens from logits.
      max_decode_steps: the most tokens a row may get, at least 1.
      eos_ids: tokens that end a row; none means that every row runs to the limit.
      prefix: what all prompts begin with, of which rows hold the rest (`models.prefill`).
    """
    params, config = models.unroll_layers(params, config)
    cache, logits = models.prefill(
        params, batch, config, max_decode_steps=max_decode_steps, prefix=prefix
    )
    rows = logits.shape[0]
    first = _advance(
        _Rows(
            tokens=jnp.zeros((rows, max_decode_steps), jnp.int32),
            logprobs=jnp.zeros((rows, max_decode_steps), jnp.float32),
            lengths=jnp.zeros((rows,), jnp.int32),
            finished=jnp.zeros((rows,), bool),
            last=jnp.zeros((rows,), jnp.int32),
        ),
        logits,
        jnp.zeros((), jnp.int32),
        sampler,
        eos_ids,
    )

    def unfinished(carry: tuple[Array, Any, _Rows]) -> Array:
        step, _, state = carry
        return (step < max_decode_steps) & ~jnp.all(state.finished)

    def body(carry: tuple[Array, Any, _Rows]) -> tuple[Array, Any, _Rows]:
        step, cache, state = carry
        cache, logits = models.decode_step(params, cache, state.last, config, prefix=prefix)
        return step + 1, cache, _advance(state, logits, step, sampler, eos_ids)

    _, _, state = jax.lax.while_loop(unfinished, body, (jnp.ones((), jnp.int32), cache, first))
    return Decoded(state.tokens, state.logprobs, state.lengths, state.finished)


class _Rows(NamedTuple):
    """The loop's state for each row; `last` is the token that the next step reads."""

    tokens: Int[Array, "B T"]
    logprobs: Float[Array, "B T"]
    lengths: Int[Array, "B"]
    finished: Bool[Array, "B"]
    last: Int[Array, "B"]


def _advance(
    state: _Rows,
    logits: Float[Array, "B V"],
    step: Int[Array, ""],
    sampler: Sampler,
    eos_ids: tuple[int, ...],
) -> _Rows:
    """Adds token number `step` to the rows that have not ended."""
    logits = logits.astype(jnp.float32)
    chosen = sampler(logits, step).astype(jnp.int32)
    logprob = jnp.take_along_axis(jax.nn.log_softmax(logits), chosen[:, None], axis=-1)[:, 0]
    running = ~state.finished
    token = jnp.where(running, chosen, 0)
    logprob = jnp.where(running, logprob, 0.0)
    ends = jnp.isin(chosen, jnp.asarray(eos_ids, jnp.int32)) if eos_ids else jnp.zeros_like(running)
    return _Rows(
        tokens=jax.lax.dynamic_update_index_in_dim(state.tokens, token, step, axis=1),
        logprobs=jax.lax.dynamic_update_index_in_dim(state.logprobs, logprob, step, axis=1),
        lengths=state.lengths + running,
        finished=state.finished | ends,
        last=token,
    )
