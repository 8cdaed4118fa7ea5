"""Tokens that every row begins with: their keys and values, made once and held once."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from tlm_jax.models.block import BlockContext, LayerPrefix
from tlm_jax.sharding.rules import constrain


class Prefix(NamedTuple):
    """Tokens at positions 0, 1, ..., in front of those of every row.

    Layers with a window have them all, too, and see those that the window reaches: there is one
    copy, which few rows would make smaller.

    Attributes:
      layers: keys and values.
      mask: whether a place holds a token; padding follows them.
      positions: of the tokens.
    """

    layers: tuple[LayerPrefix, ...]
    mask: Bool[Array, "1 P"]
    positions: Int[Array, "1 P"]

    @property
    def length(self) -> Int[Array, ""]:
        """How many tokens there are; the position of the first one of a row."""
        return jnp.sum(self.mask, dtype=jnp.int32)


def behind_prefix(context: BlockContext, prefix: Prefix) -> BlockContext:
    """Returns the context of tokens that see a prefix, in front of all that they see already."""
    positions = context.positions
    offsets = context.offsets
    if offsets is None:
        offsets = positions[:, None, :] - positions[:, :, None]
    before = prefix.positions[:, None, :] - positions[:, :, None]
    mask = jnp.broadcast_to(prefix.mask[:, None, :], before.shape)
    of_window = context.of_window
    return context._replace(
        mask=jnp.concatenate([mask, context.mask], axis=-1),
        offsets=jnp.concatenate([before, offsets], axis=-1),
        of_window=None if of_window is None else behind_prefix(of_window, prefix),
    )


def blank(like: jax.ShapeDtypeStruct, num_layers: int, length: int) -> Prefix:
    """Returns a prefix without any tokens yet, of layers whose keys are like these [1, K, _, H]."""
    _, K, _, H = like.shape
    axes = (None, "kv_heads", "length", "kv")
    keys = constrain(jnp.zeros((1, K, length, H), like.dtype), axes)
    none = jnp.zeros((1, length), jnp.int32)
    return Prefix(tuple(LayerPrefix(keys, keys) for _ in range(num_layers)), none > 0, none)
