"""Attention masks, as booleans: True lets attention through."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Bool, Int


def segments(tokens: Int[Array, "B T"], segment_ids: Int[Array, "B T"] | None) -> Int[Array, "B T"]:
    """Returns the segment of each position, 0 where there is padding.

    Packed batches tell; otherwise every token other than 0 belongs to segment 1 (T5X's rule).
    T5X also treats token 0 within a packed segment as padding; here `segment_ids` alone decide,
    because 0 is a real token of many vocabularies.
    """
    return (tokens > 0).astype(jnp.int32) if segment_ids is None else segment_ids


def same_segment(
    query_segments: Int[Array, "B T"], key_segments: Int[Array, "B S"]
) -> Bool[Array, "B T S"]:
    """Lets positions of one segment see each other; padding neither sees nor is seen."""
    query, key = query_segments[:, :, None], key_segments[:, None, :]
    return (query == key) & (key > 0)


def within_window(offsets: Int[Array, "B T S"], window: int) -> Bool[Array, "B T S"]:
    """Lets positions see each other that are less than `window` apart.

    Args:
      offsets: key position − query position, or the other way round.
      window: 1 lets a position see itself only.
    """
    return jnp.abs(offsets) < window


def causal(length: int, prefix: Int[Array, "B T"] | None = None) -> Bool[Array, "#B T T"]:
    """Lets each position see itself and those before it; those with prefix 1 see each other."""
    rows = jnp.arange(length)
    mask = (rows[:, None] >= rows[None, :])[None]
    if prefix is None:
        return mask
    return mask | ((prefix[:, :, None] > 0) & (prefix[:, None, :] > 0))
