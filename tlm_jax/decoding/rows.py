"""The decoding engine's programs: rows that hold one sample each, filled and stepped on device.

A cache has two regions of slots: the first holds prompts, each row its own; the second the
generated tokens of all rows, which write the same slot at each step and see their own tokens only.
The engine's host side (`engine`) says which slots of the second region are free.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from tlm_jax import models
from tlm_jax.decoding.samplers import RowSampling, choose, penalized
from tlm_jax.models.cache import Cache
from tlm_jax.types import Batch, Params

_ATTENDED = ("key", "value", "cross_key", "cross_value")
"""[(L,) B, K, S, H]: rows are axis -4, slots axis -2."""


class Rows(NamedTuple):
    """What each row is doing; a row that is not live does nothing of consequence.

    Attributes:
      cache: keys and values.
      last: the token that the next step reads.
      generated: number of tokens so far.
      limit: the most there may be.
      live: whether the row has a sample that goes on.
      sampling: settings.
      seen: tokens that a repetition penalty counts; None while no row has one.
    """

    cache: Cache
    last: Int[Array, " B"]
    generated: Int[Array, " B"]
    limit: Int[Array, " B"]
    live: Bool[Array, " B"]
    sampling: RowSampling
    seen: Bool[Array, "B V"] | None


class Placing(NamedTuple):
    """Samples that begin: the first `number` entries of each array, one a row that is filled.

    Attributes:
      number: of samples.
      rows: where they go.
      sources: row of the prompts' cache.
      limit: the most tokens.
      sampling: settings.
    """

    number: Int[Array, ""]
    rows: Int[Array, " B"]
    sources: Int[Array, " B"]
    limit: Int[Array, " B"]
    sampling: RowSampling


class Chosen(NamedTuple):
    """A token for each row. Candidates are None where none are asked for.

    Attributes:
      tokens: ids, -1 where a row is not live.
      logprobs: of the model itself, nats.
      ids: of the most probable tokens.
      candidate_logprobs: theirs.
      outside: logarithm of the mass of all others.
    """

    tokens: Int[Array, "*T B"]
    logprobs: Float[Array, "*T B"]
    ids: Int[Array, "*T B C"] | None
    candidate_logprobs: Float[Array, "*T B C"] | None
    outside: Float[Array, "*T B"] | None


class Prompts(NamedTuple):
    """Prompts that have been read.

    Attributes:
      cache: theirs, without room for more tokens.
      logits: of the first token to generate.
      seen: tokens of the prompt, for repetition penalties.
    """

    cache: Cache
    logits: Float[Array, "P V"]
    seen: Bool[Array, "P V"]


def read_prompts(params: Params, batch: Batch, config: models.ModelConfig) -> Prompts:
    """Runs prompts, once for all their samples."""
    cache, logits = models.prefill(params, batch, config, max_decode_steps=0)
    seen = jnp.zeros(logits.shape, bool)
    if not isinstance(config, models.EncoderDecoderConfig):
        tokens = batch["decoder_input_tokens"]
        # Padding goes beyond the vocabulary, where a scatter drops it.
        places = jnp.where(batch["decoder_causal_attention"] > 0, tokens, logits.shape[-1])
        seen = jax.vmap(lambda row, at: row.at[at].set(True, mode="drop"))(seen, places)
    return Prompts(cache, logits.astype(jnp.float32), seen)


def empty(prompts: Prompts, rows: int, room: int) -> Rows:
    """Returns rows that wait, with a cache for prompts of the size given and `room` more tokens."""

    def wide(name: str, array: jax.Array) -> jax.Array:
        shape = list(array.shape)
        if name in _ATTENDED:
            shape[-4] = rows
        elif array.ndim:
            shape[0] = rows
        if name in ("key", "value"):
            shape[-2] += room
        if name in ("slot_mask", "slot_positions"):
            shape[1] += room
        return jnp.zeros(shape, array.dtype)

    ints, floats = jnp.zeros(rows, jnp.int32), jnp.zeros(rows, jnp.float32)
    return Rows(
        cache={name: wide(name, array) for name, array in prompts.cache.items()},
        last=ints,
        generated=ints,
        limit=ints,
        live=jnp.zeros(rows, bool),
        sampling=RowSampling(
            floats, ints, floats + 1, floats, floats + 1, jnp.zeros((rows, 2), jnp.uint32)
        ),
        seen=None,
    )


def place(
    state: Rows, prompts: Prompts, placing: Placing, eos_ids: tuple[int, ...], num_candidates: int
) -> tuple[Rows, Chosen]:
    """Starts samples in free rows: copies their prompts' keys and values, draws the first token.

    The prompts' cache may have fewer prompt slots than the rows', not more.
    """
    cache = _placed_cache(state.cache, prompts.cache, placing)

    def copy(old: jax.Array, new: jax.Array) -> jax.Array:
        return old.at[_targets(placing)].set(new, mode="drop")

    zeros = jnp.zeros_like(state.generated)
    started = jnp.zeros_like(state.live).at[_targets(placing)].set(True, mode="drop")
    seen = state.seen
    if seen is not None:
        seen = copy(seen, jnp.take(prompts.seen, placing.sources, axis=0))
    state = state._replace(
        cache=cache,
        generated=copy(state.generated, zeros),
        limit=copy(state.limit, placing.limit),
        sampling=jax.tree.map(copy, state.sampling, placing.sampling),
        seen=seen,
    )
    logits = jnp.zeros((len(zeros), prompts.logits.shape[-1]), jnp.float32)
    logits = copy(logits, jnp.take(prompts.logits, placing.sources, axis=0))
    advanced, chosen = _advance(state, logits, started, eos_ids, num_candidates)
    return advanced._replace(live=jnp.where(started, advanced.live, state.live)), chosen


def steps(
    params: Params,
    state: Rows,
    first_slot: Int[Array, ""],
    number: Int[Array, ""],
    fewest_live: Int[Array, ""],
    config: models.ModelConfig,
    eos_ids: tuple[int, ...],
    num_candidates: int,
    most: int,
) -> tuple[Rows, Chosen, Int[Array, ""]]:
    """Generates up to `number` tokens in each live row, at the slots from `first_slot`.

    Ends early when fewer than `fewest_live` rows are live. Returns the rows, the tokens [T, B] with
    T = `most`, and how many steps were made; what lies beyond them means nothing.
    """
    state = state._replace(cache=state.cache | {"next_slot": first_slot})
    made = _blank(most, state, num_candidates)

    def goes_on(carry: tuple[jax.Array, Rows, Chosen]) -> jax.Array:
        step, state, _ = carry
        return (step < number) & (jnp.sum(state.live) >= fewest_live)

    def body(carry: tuple[jax.Array, Rows, Chosen]) -> tuple[jax.Array, Rows, Chosen]:
        step, state, made = carry
        position = state.cache["next_position"]
        cache, logits = models.decode_step(params, state.cache, state.last, config)
        # Rows that wait stay where they are: beyond the last position there may be no embedding.
        cache |= {"next_position": jnp.where(state.live, cache["next_position"], position)}
        state, chosen = _advance(
            state._replace(cache=cache), logits, state.live, eos_ids, num_candidates
        )
        write = functools.partial(jax.lax.dynamic_update_index_in_dim, index=step, axis=0)
        return step + 1, state, jax.tree.map(write, made, chosen)

    made_steps, state, made = jax.lax.while_loop(
        goes_on, body, (jnp.zeros((), jnp.int32), state, made)
    )
    return state, made, made_steps


class Slots(NamedTuple):
    """How many slots a cache has: for prompts, for generated tokens, and for the encoder's."""

    prompt: int
    generated: int
    cross: int = 0


def resize(state: Rows, old: Slots, new: Slots) -> Rows:
    """Returns the rows with `new` numbers of slots instead of `old`, none of them fewer."""

    def grow(array: jax.Array, axis: int) -> jax.Array:
        prompt, generated = jnp.split(array, [old.prompt], axis=axis)
        grown = (_padded(prompt, axis, new.prompt), _padded(generated, axis, new.generated))
        return jnp.concatenate(grown, axis=axis)

    cache = dict(state.cache)
    for name, array in state.cache.items():
        axis = array.ndim - 2 if name in _ATTENDED else 1
        if name in ("key", "value", "slot_mask", "slot_positions"):
            cache[name] = grow(array, axis)
        elif name.startswith("cross_"):
            cache[name] = _padded(array, axis, new.cross)
    return state._replace(cache=cache)


def _placed_cache(cache: Cache, prompts: Cache, placing: Placing) -> Cache:
    """Copies prompts into rows, one at a time and in place, and forgets what the rows held."""
    cache = dict(cache)
    rows = _targets(placing)
    for name in ("slot_mask", "slot_positions", "cross_mask", "next_position"):
        if name in prompts:
            chosen = jnp.take(prompts[name], placing.sources, axis=0)
            if chosen.ndim > 1:
                chosen = _padded(chosen, 1, cache[name].shape[1])
            cache[name] = cache[name].at[rows].set(chosen, mode="drop")

    attended = {name: cache[name] for name in _ATTENDED if name in cache}

    def copy(index: jax.Array, attended: dict[str, jax.Array]) -> dict[str, jax.Array]:
        source, row = placing.sources[index], placing.rows[index]
        copied = {}
        for name, array in attended.items():
            axis = array.ndim - 4
            part = jax.lax.dynamic_slice_in_dim(prompts[name], source, 1, axis)
            start = tuple(row if place == axis else 0 for place in range(array.ndim))
            copied[name] = jax.lax.dynamic_update_slice(array, part, start)
        return copied

    return cache | jax.lax.fori_loop(0, placing.number, copy, attended)


def _targets(placing: Placing) -> Int[Array, " B"]:
    """Returns the rows to fill; entries beyond `number` name a row that does not exist."""
    size = placing.rows.shape[0]
    return jnp.where(jnp.arange(size) < placing.number, placing.rows, size)


def _advance(
    state: Rows,
    logits: Float[Array, "B V"],
    acts: Bool[Array, " B"],
    eos_ids: tuple[int, ...],
    num_candidates: int,
) -> tuple[Rows, Chosen]:
    """Chooses a token in the rows that act, and ends those that are through."""
    logits = logits.astype(jnp.float32)
    judged, seen = logits, state.seen
    if seen is not None:
        judged = penalized(logits, seen, state.sampling.repetition_penalty)
    token = choose(judged, state.sampling, state.generated)
    total = jax.nn.logsumexp(logits, axis=-1)
    logprob = jnp.take_along_axis(logits, token[:, None], axis=-1)[:, 0] - total
    if seen is not None:
        seen = jax.vmap(lambda row, at: row.at[at].set(True))(seen, token)
    generated = state.generated + acts
    ends = generated >= state.limit
    for eos_id in eos_ids:
        ends |= token == eos_id
    chosen = Chosen(
        jnp.where(acts, token, -1), logprob, *_candidates(logits, total, num_candidates)
    )
    last = jnp.where(acts, token, state.last)
    return state._replace(last=last, generated=generated, live=acts & ~ends, seen=seen), chosen


def _candidates(
    logits: Float[Array, "B V"], total: Float[Array, " B"], number: int
) -> tuple[jax.Array | None, jax.Array | None, jax.Array | None]:
    if not number:
        return None, None, None
    values, ids = jax.lax.top_k(logits, number)
    others = jax.vmap(lambda row, at: row.at[at].set(-jnp.inf))(logits, ids)
    return ids, values - total[:, None], jax.nn.logsumexp(others, axis=-1) - total


def _blank(most: int, state: Rows, num_candidates: int) -> Chosen:
    B, C = state.last.shape[0], num_candidates
    floats = jnp.zeros((most, B), jnp.float32)
    return Chosen(
        jnp.zeros((most, B), jnp.int32),
        floats,
        jnp.zeros((most, B, C), jnp.int32) if C else None,
        jnp.zeros((most, B, C), jnp.float32) if C else None,
        floats if C else None,
    )


def _padded(array: jax.Array, axis: int, size: int) -> jax.Array:
    room = [(0, 0)] * array.ndim
    room[axis] = (0, size - array.shape[axis])
    return jnp.pad(array, room)
