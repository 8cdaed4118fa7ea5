"""The key-value cache of decoding: prompts, which rows share, and slots for each row's tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from tlm_jax.models.block import BlockContext, LayerCache, LayersMade
from tlm_jax.models.config import ModelConfig

EVERY, WINDOW = "every", "window"
"""Names of `Cache.slots`: of layers that see every token, and of those with a window."""


class Slots(NamedTuple):
    """Which tokens some layers have keys and values of.

    S slots hold a prompt, padded on either side; S' hold tokens after it. All rows write the same
    slot at each step, so that the update is one contiguous slice; what a row may see is in `mask`.

    Attributes:
      prompt_mask: whether a slot holds a token.
      prompt_positions: position of that token.
      mask: as `prompt_mask`, of the tokens after the prompt.
      positions: as `prompt_positions`.
      next: slot of the token that comes next.
    """

    prompt_mask: Bool[Array, "Q S"]
    prompt_positions: Int[Array, "Q S"]
    mask: Bool[Array, "B R"]
    positions: Int[Array, "B R"]
    next: Int[Array, ""]


class Cache(NamedTuple):
    """What `prefill` returns and `decode_step` updates: B rows go on from Q prompts.

    B is a multiple of Q: rows 0 to B / Q − 1 share prompt 0, the next ones prompt 1, and so on.
    Every layer has arrays of its own, so that a step changes each in place.

    Attributes:
      layers: keys and values.
      slots: by name, `EVERY` and `WINDOW`; a cache has those that its layers need.
      next_position: of each row's next token.
      cross_mask: which encoder outputs a prompt has; None in a decoder-only model.
    """

    layers: tuple[LayerCache, ...]
    slots: dict[str, Slots]
    next_position: Int[Array, " B"]
    cross_mask: Bool[Array, "Q _"] | None


def layer_slots(config: ModelConfig) -> tuple[str, ...]:
    """Returns the name of each decoder layer's slots."""
    spec = config.decoder_spec()
    flags = spec.windowed_layers or (False,) * spec.num_layers
    return tuple(WINDOW if windowed else EVERY for windowed in flags)


def create(
    made: Sequence[LayersMade],
    valid: Bool[Array, "B T"],
    positions: Int[Array, "B T"],
    max_decode_steps: int,
    names: Sequence[str],
    window: int | None = None,
) -> Cache:
    """Returns the cache after a prompt, with room for `max_decode_steps` more tokens.

    Args:
      made: keys and values of each layer.
      valid: which tokens are not padding.
      positions: theirs.
      max_decode_steps: slots after the prompt.
      names: of each layer's slots.
      window: how many tokens are kept of a prompt in `WINDOW`.
    """
    B = valid.shape[0]
    positions = positions.astype(jnp.int32)
    none = jnp.zeros((B, max_decode_steps), jnp.int32)
    kept = {name: _last(valid, window if name == WINDOW else None) for name in set(names)}

    def keep(array: jax.Array, name: str, axis: int) -> jax.Array:
        columns = kept[name]
        if columns is None:
            return array
        shape = [1] * array.ndim
        shape[0], shape[axis] = columns.shape
        return jnp.take_along_axis(array, columns.reshape(shape), axis=axis)

    def layer(made: LayersMade, name: str) -> LayerCache:
        room = jnp.zeros((B, made["key"].shape[1], max_decode_steps, made["key"].shape[3]))
        room = room.astype(made["key"].dtype)
        return LayerCache(
            prompt_key=keep(made["key"], name, 2),
            prompt_value=keep(made["value"], name, 2),
            key=room,
            value=room,
            cross_key=made.get("cross_key"),
            cross_value=made.get("cross_value"),
        )

    return Cache(
        layers=tuple(layer(*pair) for pair in zip(made, names, strict=True)),
        slots={
            name: Slots(
                prompt_mask=keep(valid, name, 1),
                prompt_positions=keep(positions, name, 1),
                mask=none > 0,
                positions=none,
                next=jnp.zeros((), jnp.int32),
            )
            for name in kept
        },
        next_position=jnp.max(jnp.where(valid, positions, -1), axis=1) + 1,
        cross_mask=None,
    )


def step_context(cache: Cache) -> BlockContext:
    """Returns what the layers need to work on the next token of every row."""
    contexts = {name: _slots_context(cache, slots) for name, slots in cache.slots.items()}
    context = contexts.get(EVERY) or contexts[WINDOW]
    if cache.cross_mask is not None:
        context = context._replace(cross_mask=_of_rows(cache.cross_mask, cache)[:, None])
    return context._replace(of_window=contexts.get(WINDOW))


def append(cache: Cache, made: Sequence[LayersMade]) -> Cache:
    """Returns the cache with one more token a row, which the layers have written already."""
    layers = tuple(
        layer._replace(key=of_layer["key"], value=of_layer["value"])
        for layer, of_layer in zip(cache.layers, made, strict=True)
    )

    def advance(slots: Slots) -> Slots:
        mask, positions = _with_next(slots, cache.next_position)
        return slots._replace(mask=mask, positions=positions, next=slots.next + 1)

    return cache._replace(
        layers=layers,
        slots={name: advance(slots) for name, slots in cache.slots.items()},
        next_position=cache.next_position + 1,
    )


def repeat_rows(cache: Cache, times: int) -> Cache:
    """Returns the cache with every row `times` times in a row; prompts are shared, not copied."""

    def repeat(array: jax.Array) -> jax.Array:
        return jnp.repeat(array, times, axis=0)

    return _map_rows(cache, repeat)


def select_rows(cache: Cache, rows: Int[Array, " R"]) -> Cache:
    """Returns the cache of the rows chosen, in that order; a row may be chosen several times.

    Each has a copy of its prompt then. Rows of one prompt among each other: `permute_rows`.
    """
    prompts = rows // (cache.next_position.shape[0] // _num_prompts(cache))

    def of_prompt(array: jax.Array | None) -> jax.Array | None:
        return None if array is None else jnp.take(array, prompts, axis=0)

    cache = permute_rows(cache, rows)
    return cache._replace(
        layers=tuple(
            layer._replace(
                **{
                    name: of_prompt(getattr(layer, name))
                    for name in ("prompt_key", "prompt_value", "cross_key", "cross_value")
                }
            )
            for layer in cache.layers
        ),
        slots={
            name: slots._replace(
                prompt_mask=of_prompt(slots.prompt_mask),
                prompt_positions=of_prompt(slots.prompt_positions),
            )
            for name, slots in cache.slots.items()
        },
        cross_mask=of_prompt(cache.cross_mask),
    )


def permute_rows(cache: Cache, rows: Int[Array, " B"]) -> Cache:
    """Returns the cache of the rows chosen; each takes the place of a row of the same prompt."""
    return _map_rows(cache, lambda array: jnp.take(array, rows, axis=0))


def _map_rows(cache: Cache, function) -> Cache:
    """Applies a function to all that rows have for themselves."""
    return cache._replace(
        layers=tuple(
            layer._replace(key=function(layer.key), value=function(layer.value))
            for layer in cache.layers
        ),
        slots={
            name: slots._replace(mask=function(slots.mask), positions=function(slots.positions))
            for name, slots in cache.slots.items()
        },
        next_position=function(cache.next_position),
    )


def _slots_context(cache: Cache, slots: Slots) -> BlockContext:
    own_mask, own_positions = _with_next(slots, cache.next_position)
    prompt_mask = _of_rows(slots.prompt_mask, cache)
    prompt_positions = _of_rows(slots.prompt_positions, cache)
    position = cache.next_position[:, None]
    mask = jnp.concatenate([prompt_mask, own_mask], axis=1)
    offsets = jnp.concatenate([prompt_positions, own_positions], axis=1) - position
    return BlockContext(mask[:, None], position, offsets=offsets[:, None], slot=slots.next)


def _with_next(slots: Slots, position: Int[Array, " B"]) -> tuple[jax.Array, jax.Array]:
    """Returns mask and positions [B, R] as they are once the next token is there."""
    R = slots.mask.shape[1]
    written = (jnp.arange(R) == jnp.minimum(slots.next, R - 1))[None]
    return slots.mask | written, jnp.where(written, position[:, None], slots.positions)


def _of_rows(array: jax.Array, cache: Cache) -> jax.Array:
    """Returns what prompts have [Q, ...] for the rows that share them [B, ...]."""
    return jnp.repeat(array, cache.next_position.shape[0] // array.shape[0], axis=0)


def _num_prompts(cache: Cache) -> int:
    return next(iter(cache.slots.values())).prompt_mask.shape[0]


def _last(valid: Bool[Array, "B T"], count: int | None) -> Int[Array, "B W"] | None:
    """Returns the columns of each row's last `count` tokens, or None where that is all columns."""
    T = valid.shape[1]
    if count is None or count >= T:
        return None
    final = jnp.max(jnp.where(valid, jnp.arange(T)[None], 0), axis=1)
    first = jnp.maximum(final + 1 - count, 0)
    return first[:, None] + jnp.arange(count)[None]
