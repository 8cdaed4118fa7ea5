"""Chunks of tokens, with their matrices and sums of gradients: shared by all sweeps over them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from tlm_jax.losses.columns import Columns
from tlm_jax.losses.reduction import LossOutput
from tlm_jax.sharding.rules import axis_shards, batch_shards, constrain
from tlm_jax.types import Unembedding


class ChunkLoss(NamedTuple):
    """A loss of [B, t, V] float32 logits, and how to differentiate it by some of their columns.

    It is a sum over tokens; of tokens whose inputs are all 0, which fill the last chunk, nothing.
    Inputs are a tree of arrays [B, t, ...]; what is shared is a tree that every chunk sees whole.

    Attributes:
      output: (logits, inputs, shared, columns) -> the sum; the logits are all, or those columns.
      statistics: (logits, inputs, shared) -> what `Columns.statistics` has to be.
      narrowed: (inputs, shared, take) -> the same, with `take` done to their arrays [..., V].
    """

    output: Callable[[Array, Any, Any, Columns], LossOutput]
    statistics: Callable[[Array, Any, Any], Any]
    narrowed: Callable[[Any, Any, Callable[[Array], Array]], tuple[Any, Any]]

    def of_all(self, logits: Float[Array, "B t V"], inputs: Any, shared: Any):
        """Returns the output of all logits, and their statistics."""
        statistics = self.statistics(jax.lax.stop_gradient(logits), inputs, shared)
        vocabulary_size = logits.shape[-1]
        columns = Columns(jnp.arange(vocabulary_size), vocabulary_size, statistics)
        return self.output(logits, inputs, shared, columns), statistics


class Step(NamedTuple):
    """A step of a sweep, and a 1 that XLA does not know to be the same in every step."""

    number: Array
    one: Array


def steps(count: int) -> Step:
    """Returns what a scan over `count` steps goes through."""
    ones = jax.lax.optimization_barrier(jnp.ones(count, jnp.float32))
    return Step(jnp.arange(count), ones)


def read_in(step: Step, constants: Any) -> Any:
    """Returns the same, with matrices that a TPU's products read as they are in every step.

    Its products take bfloat16 operands. Those of a float32 matrix that is the same in every step
    XLA computes before the loop and keeps, half the matrix's size; those of one that may differ, it
    computes as it reads the matrix. One that devices gather is left to XLA, because it has to be
    kept anyway, and in bfloat16 half as much is sent.
    """

    def of(x: Any) -> Any:
        if jnp.ndim(x) != 2 or x.dtype != jnp.float32:
            return x
        if axis_shards("embed", x.shape[0], of_parameters=True) > 1:
            return x
        return jax.lax.platform_dependent(x, step.one, tpu=jnp.multiply, default=lambda x, one: x)

    return jax.tree.map(of, constants)


class Gradients(NamedTuple):
    """Sums over tokens: of each part of the batch (N), or of all of it."""

    matrix: Float[Array, "*N D V"]
    bias: Float[Array, "*N V"] | None


def batch_parts(rows: int) -> tuple[int, ...]:
    """Returns the leading axis of `Gradients`: the parts of the batch with devices of their own."""
    shards = batch_shards()
    return (shards,) if shards > 1 and rows % shards == 0 else ()


def zero_gradients(matrix: Array, bias: Array | None, parts: tuple[int, ...]) -> Gradients:
    """Returns sums over no tokens."""
    return pinned(
        Gradients(
            jnp.zeros((*parts, *matrix.shape), jnp.float32),
            None if bias is None else jnp.zeros((*parts, *bias.shape), jnp.float32),
        )
    )


def gradients_of(
    hidden: Float[Array, "B t D"],
    d_product: Float[Array, "B t V"],
    parts: tuple[int, ...],
    *,
    has_bias: bool,
) -> Gradients:
    """Returns the gradients of a chunk, given that of the product."""
    # [B, t, ...] -> [*N, tokens, ...]
    hidden, d_product = (x.reshape(*parts, -1, x.shape[-1]) for x in (hidden, d_product))
    matrix = jnp.einsum("...td,...tv->...dv", hidden, d_product, preferred_element_type=jnp.float32)
    if not has_bias:
        return Gradients(matrix, None)
    return Gradients(matrix, jnp.sum(d_product.astype(jnp.float32), axis=-2))


def pinned(gradients: Gradients) -> Gradients:
    """Keeps each part's sums on the devices of the part."""
    matrix, bias = gradients
    parts = ("batch",) * (matrix.ndim - 2)
    matrix = constrain(matrix, (*parts, "embed", "vocab"))
    return Gradients(matrix, None if bias is None else constrain(bias, (*parts, "vocab")))


def over_parts(gradients: Gradients) -> Gradients:
    """Returns the sums over all tokens; here devices exchange them."""
    matrix, bias = gradients
    if matrix.ndim == 2:
        return gradients
    return Gradients(jnp.sum(matrix, axis=0), None if bias is None else jnp.sum(bias, axis=0))


def product(head: Unembedding, hidden: Float[Array, "B t D"]) -> Float[Array, "B t V"]:
    """Returns the product with the matrix, V split over devices."""
    return constrain(head.product(hidden), ("batch", "length", "vocab"))


def chunk(arrays: Any, index: Any, num_chunks: int) -> Any:
    """Returns one of the equal pieces of axis 1."""

    def of(x: Array) -> Array:
        size = x.shape[1] // num_chunks
        return jax.lax.dynamic_slice_in_dim(x, index * size, size, axis=1)

    return jax.tree.map(of, arrays)


def added(sums: Any, more: Any) -> Any:
    """Returns the sums of two trees."""
    return jax.tree.map(jnp.add, sums, more)


def zeros(shapes: Any) -> Any:
    """Returns zeros of the shapes and types of a tree."""
    return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
