"""Beam search: keeps the most probable beginnings of each prompt, and the best texts that ended."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from tlm_jax import models
from tlm_jax.decoding.beam_rules import BeamScores, BeamSearch
from tlm_jax.types import Batch, Params


class Beams(NamedTuple):
    """The texts found for each prompt, best first, right-padded; T is the most tokens allowed.

    Attributes:
      tokens: ids, the closing EOS included, then 0.
      scores: see `BeamSearch`; -inf in a place that no text fills, whose tokens are all 0.
      lengths: number of tokens, EOS included; 0 in an empty place.
      finished: whether the text ended with EOS rather than at the limit.
    """

    tokens: Int[Array, "B P T"]
    scores: Float[Array, "B P"]
    lengths: Int[Array, "B P"]
    finished: Bool[Array, "B P"]


BeamDecoder = Callable[[Params, Batch], Beams]


def beam_search(
    params: Params,
    batch: Batch,
    config: models.ModelConfig,
    search: BeamSearch,
    *,
    max_decode_steps: int,
    eos_ids: tuple[int, ...],
) -> Beams:
    """Searches for the texts of the best scores; pure, `jit_beam` gives the compiled function.

    The prompt is read once, and its beams share its keys and values, or its encoder's. Prompts do
    not influence each other.

    Args:
      params: the model's parameters.
      batch: the prompts, as for `generate`.
      config: the model's configuration.
      search: number of beams, scores and end.
      max_decode_steps: the most tokens a text may get, at least 1.
      eos_ids: tokens that end a text; none means that every text runs to the limit.
    """
    params, config = models.unroll_layers(params, config)
    cache, logits = models.prefill(params, batch, config, max_decode_steps=max_decode_steps)
    rows, P = logits.shape[0], search.num_beams
    rule = BeamScores(search, cache.next_position, max_decode_steps)
    cache = models.repeat_rows(cache, P)
    first = _advance(
        _nothing(rows, P, max_decode_steps),
        jnp.repeat(logits, P, axis=0),
        jnp.zeros((), jnp.int32),
        rule,
        eos_ids,
    )

    def unfinished(carry: tuple[Array, models.Cache, _Beams]) -> Array:
        step, _, state = carry
        return (step < max_decode_steps) & jnp.any(state.open)

    def body(
        carry: tuple[Array, models.Cache, _Beams],
    ) -> tuple[Array, models.Cache, _Beams]:
        step, cache, state = carry
        cache = _reorder(cache, state.parents)
        last = jax.lax.dynamic_index_in_dim(state.tokens, step - 1, axis=2, keepdims=False)
        cache, logits = models.decode_step(params, cache, last.reshape(-1), config)
        return step + 1, cache, _advance(state, logits, step, rule, eos_ids)

    _, _, state = jax.lax.while_loop(unfinished, body, (jnp.ones((), jnp.int32), cache, first))
    return _with_live_beams(state) if search.rule == "t5x" else state.ended


def jit_beam(
    config: models.ModelConfig,
    search: BeamSearch,
    *,
    max_decode_steps: int,
    eos_ids: tuple[int, ...],
) -> BeamDecoder:
    """Returns `decode(params, batch) -> Beams`, compiled once for each shape of prompts.

    Pad prompts to few lengths (`buckets`) to compile few times. The returned function remembers
    the sharding rules it was first called under, so call it under one `use_rules` only.
    """

    def decode(params: Params, batch: Batch) -> Beams:
        return beam_search(
            params, batch, config, search, max_decode_steps=max_decode_steps, eos_ids=eos_ids
        )

    return jax.jit(decode)


class _Beams(NamedTuple):
    """The loop's state: beams that still grow, most probable first, and texts that have ended.

    `parents` are the beams that the present ones continue, `open` the prompts still searched.
    """

    tokens: Int[Array, "B P T"]
    logprobs: Float[Array, "B P"]
    parents: Int[Array, "B P"]
    ended: Beams
    open: Bool[Array, "B"]


class _Continuations(NamedTuple):
    """A step's most probable continuations in descending order; C is their number."""

    tokens: Int[Array, "B C T"]
    logprobs: Float[Array, "B C"]
    parents: Int[Array, "B C"]
    ends: Bool[Array, "B C"]


def _nothing(rows: int, num_beams: int, max_decode_steps: int) -> _Beams:
    """Returns the state before the first token: one empty beam a prompt, the others impossible."""
    none = jnp.full((rows, num_beams), -jnp.inf)
    tokens = jnp.zeros((rows, num_beams, max_decode_steps), jnp.int32)
    zeros = jnp.zeros((rows, num_beams), jnp.int32)
    return _Beams(
        tokens=tokens,
        logprobs=none.at[:, 0].set(0.0),
        parents=zeros,
        ended=Beams(tokens, none, zeros, zeros > 0),
        open=jnp.ones((rows,), bool),
    )


def _advance(
    state: _Beams,
    logits: Float[Array, "BP V"],
    step: Int[Array, ""],
    rule: BeamScores,
    eos_ids: tuple[int, ...],
) -> _Beams:
    """Adds token number `step` (from 0) to all beams, and collects the texts that end with it."""
    P = state.logprobs.shape[1]
    found = _continuations(state, logits, step, eos_ids)
    ended = _collect(state, found, step, rule)
    logprobs, kept = jax.lax.top_k(jnp.where(found.ends, -jnp.inf, found.logprobs), P)
    worst = jnp.min(ended.scores, axis=1)
    still_open = state.open & (rule.best_possible(logprobs, step + 1) > worst)
    if rule.search.early_stopping is True:
        still_open &= jnp.isneginf(worst)
    return _Beams(
        tokens=jnp.take_along_axis(found.tokens, kept[..., None], axis=1),
        logprobs=logprobs,
        parents=jnp.take_along_axis(found.parents, kept, axis=1),
        ended=ended,
        open=still_open,
    )


def _continuations(
    state: _Beams, logits: Float[Array, "BP V"], step: Int[Array, ""], eos_ids: tuple[int, ...]
) -> _Continuations:
    (B, P), V = state.logprobs.shape, logits.shape[-1]
    logprobs = jax.nn.log_softmax(logits.astype(jnp.float32)).reshape(B, P, V)
    joint = (state.logprobs[..., None] + logprobs).reshape(B, P * V)
    count = min(P * (1 + max(1, len(eos_ids))), P * V)
    logprobs, places = jax.lax.top_k(joint, count)
    parents, chosen = jnp.divmod(places, V)
    tokens = jnp.take_along_axis(state.tokens, parents[..., None], axis=1)
    return _Continuations(
        tokens=jax.lax.dynamic_update_index_in_dim(tokens, chosen, step, axis=2),
        logprobs=logprobs,
        parents=parents,
        ends=jnp.isin(chosen, jnp.asarray(eos_ids, jnp.int32)),
    )


def _collect(state: _Beams, found: _Continuations, step: Int[Array, ""], rule: BeamScores) -> Beams:
    """Returns the best of the texts that had ended and those that end now."""
    (B, C), P = found.logprobs.shape, state.logprobs.shape[1]
    ends = found.ends & state.open[:, None]
    if rule.search.rule == "transformers":
        at_limit = step == rule.max_decode_steps - 1
        ends = (found.ends | at_limit) & state.open[:, None] & (jnp.arange(C) < P)[None]
    scores = jnp.where(ends, found.logprobs / rule.divisor(step + 1), -jnp.inf)
    new = Beams(found.tokens, scores, jnp.broadcast_to(step + 1, (B, C)), found.ends)
    both = [jnp.concatenate(pair, axis=1) for pair in zip(state.ended, new)]
    # Of equal scores the first is taken: what had ended stays, be it an empty place.
    _, best = jax.lax.top_k(both[1], P)
    tokens, *others = both
    return Beams(
        jnp.take_along_axis(tokens, best[..., None], axis=1),
        *(jnp.take_along_axis(array, best, axis=1) for array in others),
    )


def _reorder(cache: models.Cache, parents: Int[Array, "B P"]) -> models.Cache:
    """Returns the cache with each beam's row taken from its parent's."""
    B, P = parents.shape
    rows = (jnp.arange(B)[:, None] * P + parents).reshape(-1)
    return models.permute_rows(cache, rows)


def _with_live_beams(state: _Beams) -> Beams:
    """Returns the texts that ended, and for prompts that have none the beams at the limit."""
    none_ended = jnp.all(jnp.isneginf(state.ended.scores), axis=1, keepdims=True)
    filled = none_ended & ~jnp.isneginf(state.logprobs)
    tokens, scores, lengths, finished = state.ended
    return Beams(
        jnp.where(filled[..., None], state.tokens, tokens),
        jnp.where(none_ended, state.logprobs, scores),
        jnp.where(filled, state.tokens.shape[-1], lengths),
        finished,
    )
