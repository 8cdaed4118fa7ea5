"""Kernels laid out for products with few rows on a CPU, as decode steps have them."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from tlm_jax import trees

TILE = 64
"""Columns in a tile: a row of one is four cache lines."""

LOGITS = "tiled_logits"
"""Where tiled parameters have the matrix of the logits, beside `encoder` and `decoder`."""


@functools.partial(
    jax.tree_util.register_dataclass, data_fields=["tiles"], meta_fields=["features"]
)
@dataclasses.dataclass(frozen=True)
class TiledKernel:
    """A kernel [D, O] cut into tiles of 64 columns, each of which lies in memory in one piece.

    A product with few rows is as quick as its kernel is read. Of a kernel that is stored row by row
    a processor's core reads a few columns at a time, from as many places as there are rows.

    Attributes:
      tiles: [O / 64, D, 64], the last padded with zeros.
      features: O.
    """

    tiles: Any  # not always an array: trees of shapes have the same nodes
    features: int

    def product(self, rows: Float[Array, "R D"]) -> Float[Array, "R O"]:
        """Returns `rows @ kernel`; memory for R · D · O / 64 numbers is needed on the way."""
        number = self.tiles.shape[0]
        repeated = jnp.broadcast_to(rows[None], (number, *rows.shape))
        # In this order of results: for another one einsum swaps the operands, and XLA's products
        # are quick if it is the kernel that comes second.
        tiles = jnp.einsum("nrd,ndt->nrt", repeated, self.tiles.astype(rows.dtype))
        columns = jnp.swapaxes(tiles, 0, 1).reshape(rows.shape[0], -1)
        return columns[:, : self.features]


@jax.jit
def tiled(kernel: Float[Array, "D O"]) -> TiledKernel:
    """Returns a kernel in tiles."""
    D, features = kernel.shape
    columns = jnp.pad(kernel, ((0, 0), (0, -features % TILE))).reshape(D, -1, TILE)
    return TiledKernel(jnp.einsum("dnt->ndt", columns), features)


def tile_decoder(decoder: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a decoder's parameters, those of unrolled layers, with tiles for kernels.

    What a step does not multiply with stays as it is, uncopied, and so do quantised kernels.
    """

    def laid_out(name: str, leaf: Any) -> Any:
        *path, owner, of_owner = f"decoder/{name}".split("/")
        of_prompt = "encoder_decoder_attention" in path and owner in ("key", "value")
        is_kernel = of_owner == "kernel" and isinstance(leaf, jax.Array) and leaf.ndim == 2
        return tiled(leaf) if is_kernel and not of_prompt and owner != "logits_dense" else leaf

    return trees.map_named(laid_out, decoder)
