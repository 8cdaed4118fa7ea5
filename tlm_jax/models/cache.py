"""The key-value cache of decoding: a plain dict of arrays, one slot a token and row."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from tlm_jax.models.block import BlockContext, LayersMade

Cache = dict[str, jax.Array]
"""What `prefill` returns and `decode_step` updates.

- `key`, `value` [L, B, K, S, H]: of the decoder's self-attention. All rows write the same slot, so
  that the update is one contiguous slice; padding of shorter prompts stays masked.
- `slot_mask` bool [B, S]: whether a slot holds a token.
- `slot_positions` int32 [B, S]: position of that token in its row.
- `next_position` int32 [B], `next_slot` int32 []: of the token that comes next.
- encoder-decoder: `cross_key`, `cross_value` [L, B, K, S', H], `cross_mask` bool [B, S'].
"""

_LAYERED = ("key", "value", "cross_key", "cross_value")


def create(
    made: LayersMade,
    valid: Bool[Array, "B T"],
    positions: Int[Array, "B T"],
    max_decode_steps: int,
) -> Cache:
    """Returns the cache after a prompt, with room for `max_decode_steps` more tokens."""
    T = valid.shape[1]
    room = ((0, 0), (0, max_decode_steps))
    layered_room = ((0, 0), (0, 0), (0, 0), (0, max_decode_steps), (0, 0))
    return {
        **{name: made[name] for name in made if name.startswith("cross_")},
        "key": jnp.pad(made["key"], layered_room),
        "value": jnp.pad(made["value"], layered_room),
        "slot_mask": jnp.pad(valid, room),
        "slot_positions": jnp.pad(positions.astype(jnp.int32), room),
        "next_position": jnp.max(jnp.where(valid, positions, -1), axis=1).astype(jnp.int32) + 1,
        "next_slot": jnp.asarray(T, jnp.int32),
    }


def step_context(cache: Cache) -> BlockContext:
    """Returns what the layers need to work on the next token of every row."""
    itself = jnp.zeros_like(cache["next_position"])[:, None]
    position = cache["next_position"][:, None]
    mask = jnp.concatenate([cache["slot_mask"], itself == 0], axis=1)
    offsets = jnp.concatenate([cache["slot_positions"] - position, itself], axis=1)
    return BlockContext(mask[:, None], position, offsets=offsets[:, None])


def layers(cache: Cache) -> dict[str, jax.Array]:
    """Returns the part of the cache that each layer has its own slice of."""
    return {name: cache[name] for name in _LAYERED if name in cache}


def append(cache: Cache, made: LayersMade) -> Cache:
    """Returns the cache with one more token a row."""
    slot, B = cache["next_slot"], cache["next_position"].shape[0]
    position = cache["next_position"]

    def write(name: str, update: jax.Array, axis: int) -> jax.Array:
        return jax.lax.dynamic_update_slice_in_dim(cache[name], update, slot, axis)

    return cache | {
        "key": write("key", made["key"], 3),
        "value": write("value", made["value"], 3),
        "slot_mask": write("slot_mask", jnp.ones((B, 1), bool), 1),
        "slot_positions": write("slot_positions", position[:, None], 1),
        "next_position": position + 1,
        "next_slot": slot + 1,
    }


def select_rows(cache: Cache, rows: Int[Array, " R"]) -> Cache:
    """Returns the cache of the rows chosen, in that order; a row may be chosen several times."""

    def select(name: str, array: jax.Array) -> jax.Array:
        if name == "next_slot":
            return array
        return jnp.take(array, rows, axis=1 if name in _LAYERED else 0)

    return {name: select(name, array) for name, array in cache.items()}
