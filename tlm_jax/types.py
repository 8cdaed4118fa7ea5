"""Array types that every package shares: parameter trees, batches, the output map."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Params = Any
"""A nested dict of arrays; leaves are named by their '/'-joined path, as in T5X."""

Batch = Mapping[str, jax.Array]
"""Features by T5X's names (docs/design/contracts.md)."""


class Unembedding(NamedTuple):
    """Maps hidden states `[..., D]` to float32 logits `[..., V]`.

    `logits = soft_cap * tanh(z / soft_cap)` with `z = (scale * hidden) @ matrix + bias`; a
    `soft_cap` of None leaves `z` as it is.
    """

    matrix: jax.Array
    """`[D, V]`; for tied embeddings the transposed embedding table."""
    scale: float = 1.0
    """T5's `D ** -0.5` where the embedding table is tied, else 1."""
    soft_cap: float | None = None
    bias: jax.Array | None = None
    """`[V]`."""

    def logits(self, hidden: Float[Array, "*batch D"]) -> Float[Array, "*batch V"]:
        """Returns the logits; the product is taken in the wider of the two types."""
        return self.finish(self.product(self.scaled(hidden)))

    def scaled(self, hidden: Float[Array, "*batch D"]) -> Float[Array, "*batch D"]:
        """Returns the left operand of the product, in the product's type."""
        return (self.scale * hidden).astype(jnp.promote_types(hidden.dtype, self.matrix.dtype))

    def product(self, scaled: Float[Array, "*batch D"]) -> Float[Array, "*batch V"]:
        """Returns the float32 product with the matrix."""
        return jnp.einsum(
            "...d,dv->...v",
            scaled,
            self.matrix.astype(scaled.dtype),
            preferred_element_type=jnp.float32,
        )

    def finish(self, product: Float[Array, "*batch V"]) -> Float[Array, "*batch V"]:
        """Returns the logits of the product: bias, then soft cap."""
        if self.bias is not None:
            product += jnp.expand_dims(self.bias.astype(jnp.float32), range(product.ndim - 1))
        if self.soft_cap is None:
            return product
        return self.soft_cap * jnp.tanh(product / self.soft_cap)
