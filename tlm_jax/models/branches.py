"""Several continuations of one text in a single row, so that the text is worked on once."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Int

from tlm_jax.models import masks
from tlm_jax.models.block import BlockContext
from tlm_jax.types import Batch

TRUNK, PADDING = 0, -1
"""Branch ids of the shared text and of what fills a row; branches count from 1."""


def branch_context(batch: Batch, *, prefix_lm: bool = False) -> BlockContext:
    """Returns what lets a token see the trunk and its own branch, up to itself.

    Args:
      batch: `decoder_branch_ids` and `decoder_positions`, both int32 [B, T]. The trunk comes
        first; positions of each branch go on from the trunk's.
      prefix_lm: whether the trunk's tokens see each other both ways.
    """
    branches, positions = batch["decoder_branch_ids"], batch["decoder_positions"]
    query, key = branches[:, :, None], branches[:, None, :]
    trunk = (branches == TRUNK).astype(jnp.int32) if prefix_lm else None
    seen = ((key == TRUNK) | (key == query)) & (key != PADDING)
    return BlockContext(
        seen & masks.causal(branches.shape[1], trunk),
        positions,
        offsets=_offsets(positions),
    )


def _offsets(positions: Int[Array, "B T"]) -> Int[Array, "B T T"]:
    return positions[:, None, :] - positions[:, :, None]
