"""Sums a loss of logits over chunks of tokens, so that [tokens, V] logits never exist at once.

When differentiated, the gradients of hidden states, matrix and bias are taken within the forward
sweep, while a chunk's logits are at hand, and only scaled in the backward pass: no product is
computed twice. Undifferentiated, no gradient is computed.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from tlm_jax.losses.reduction import LossOutput
from tlm_jax.sharding.rules import batch_shards, constrain
from tlm_jax.types import Unembedding


def loss_in_chunks(
    loss_of: Callable[[Array, Any, Any], LossOutput],
    hidden: Float[Array, "B T D"],
    unembedding: Unembedding,
    inputs: Any,
    shared: Any,
    *,
    chunk_tokens: int,
) -> LossOutput:
    """Returns the sum of `loss_of(logits, inputs, shared)` over chunks of the T axis.

    Gradients flow through the loss to hidden states, `unembedding.matrix` and `unembedding.bias`;
    inputs, what is shared and the metrics are constants.

    Args:
      loss_of: makes [B, t, V] float32 logits and the inputs of their tokens a sum over tokens; of
        tokens whose inputs are all 0, nothing, for such fill the last chunk.
      hidden: the model's last hidden states.
      unembedding: of the model. Where its matrix is narrower than float32, so are the operands of
        the products; accumulation is float32.
      inputs: a tree of arrays [B, T, ...].
      shared: a tree of arrays that every chunk sees whole.
      chunk_tokens: how many tokens' logits exist at once on a device; at least one position of
        every row.
    """
    rows, length, _ = hidden.shape
    chunk_length = min(length, max(1, chunk_tokens * batch_shards() // rows))
    num_chunks = -(-length // chunk_length)

    def padded(x: Array) -> Array:
        end = num_chunks * chunk_length - length
        return jnp.pad(x, ((0, 0), (0, end)) + ((0, 0),) * (x.ndim - 2))

    head = gathered(unembedding)
    return _sweep(
        _Static(loss_of, unembedding.soft_cap, num_chunks),
        padded(unembedding.scaled(hidden)),
        head.matrix,
        head.bias,
        jax.lax.stop_gradient(jax.tree.map(padded, inputs)),
        jax.lax.stop_gradient(shared),
    )


def gathered(unembedding: Unembedding) -> Unembedding:
    """Gathers the matrix over fsdp once, not for every chunk; V stays split."""
    return unembedding._replace(matrix=constrain(unembedding.matrix, ("embed", "vocab")))


class _Static(NamedTuple):
    loss_of: Callable[[Array, Any, Any], LossOutput]
    soft_cap: float | None
    num_chunks: int


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _sweep(static: _Static, hidden, matrix, bias, inputs, shared) -> LossOutput:
    """The sum over chunks without gradients; `hidden` is already scaled, T a multiple of chunks."""

    def one(chunk, matrix, shared):
        hidden, inputs = chunk
        head = Unembedding(matrix, soft_cap=static.soft_cap, bias=bias)
        return static.loss_of(head.finish(_product(head, hidden)), inputs, shared)

    arrays, constants = (hidden, inputs), (matrix, shared)
    if static.num_chunks == 1:
        return one(arrays, *constants)
    zeros = _zeros(jax.eval_shape(one, _chunk(arrays, 0, static.num_chunks), *constants))

    def body(sums, step):
        chunk = _chunk(arrays, step.index, static.num_chunks)
        return _added(sums, one(chunk, *_read_in(step, constants))), None

    return jax.lax.scan(body, zeros, _steps(static.num_chunks))[0]


def _sweep_with_gradients(static: _Static, hidden, matrix, bias, inputs, shared):
    """The same sum, and the gradients of its loss total."""

    def one(chunk, matrix, shared):
        """Returns the loss of a chunk, and its gradient by the product and by the hidden states."""
        hidden, inputs = chunk
        head = Unembedding(matrix, soft_cap=static.soft_cap, bias=bias)

        def loss_of_product(product):
            output = static.loss_of(head.finish(product), inputs, shared)
            return output.loss.total, output

        d_product, output = jax.grad(loss_of_product, has_aux=True)(_product(head, hidden))
        d_product = d_product.astype(hidden.dtype)
        d_hidden = jnp.einsum(
            "btv,dv->btd",
            d_product,
            matrix.astype(hidden.dtype),
            preferred_element_type=jnp.float32,
        )
        return output, d_product, d_hidden.astype(hidden.dtype)

    arrays, constants = (hidden, inputs), (matrix, shared)
    if static.num_chunks == 1:
        output, d_product, d_hidden = one(arrays, *constants)
        gradients = _of_parameters(hidden, d_product, (), bias is not None)
    else:
        output, gradients, d_hidden = _scan(one, arrays, constants, static.num_chunks, bias)
    d_matrix = _over_parts(gradients.matrix, 2).astype(matrix.dtype)
    d_bias = None
    if gradients.bias is not None:
        d_bias = _over_parts(gradients.bias, 1).astype(bias.dtype)
    return output, (d_hidden, d_matrix, d_bias)


def _scale_gradients(static: _Static, gradients, cotangent: LossOutput):
    del static
    d_hidden, d_matrix, d_bias = jax.tree.map(
        lambda x: (cotangent.loss.total * x).astype(x.dtype), gradients
    )
    return d_hidden, d_matrix, d_bias, None, None


_sweep.defvjp(_sweep_with_gradients, _scale_gradients)


def _scan(one, arrays: Any, constants: Any, num_chunks: int, bias: Array | None):
    """Returns the sums over chunks of `one`'s loss and parameter gradients, and d_hidden.

    Each part of the batch that has devices of its own sums its parameter gradients apart, so that
    devices exchange them once after the sweep rather than for every chunk.
    """
    hidden, matrix = arrays[0], constants[0]
    shards = batch_shards()
    parts = (shards,) if shards > 1 and hidden.shape[0] % shards == 0 else ()
    sums = (
        _zeros(jax.eval_shape(one, _chunk(arrays, 0, num_chunks), *constants)[0]),
        _pinned(
            _Gradients(
                jnp.zeros((*parts, *matrix.shape), jnp.float32),
                None if bias is None else jnp.zeros((*parts, *bias.shape), jnp.float32),
            )
        ),
        jnp.zeros_like(hidden),
    )

    def body(sums, step):
        chunk = _chunk(arrays, step.index, num_chunks)
        output, d_product, of_chunk = one(chunk, *_read_in(step, constants))
        outputs, gradients, d_hidden = sums
        gradients = _pinned(_with_gradients_of(gradients, chunk[0], d_product))
        start = step.index * chunk[0].shape[1]
        d_hidden = jax.lax.dynamic_update_slice_in_dim(d_hidden, of_chunk, start, axis=1)
        return (_added(outputs, output), gradients, d_hidden), None

    return jax.lax.scan(body, sums, _steps(num_chunks))[0]


class _Step(NamedTuple):
    """A chunk's number, and a 1 that XLA does not know to be the same for every chunk."""

    index: Array
    one: Array


def _steps(num_chunks: int) -> _Step:
    ones = jax.lax.optimization_barrier(jnp.ones(num_chunks, jnp.float32))
    return _Step(jnp.arange(num_chunks), ones)


def _read_in(step: _Step, constants: Any) -> Any:
    """Returns the same, with matrices that a TPU's products read as they are in every chunk.

    Its products take bfloat16 operands. Those of a float32 matrix that is the same for every chunk
    XLA computes before the loop and keeps, half the matrix's size; those of one that may differ, it
    computes as it reads the matrix.
    """

    def of(x: Any) -> Any:
        if jnp.ndim(x) != 2 or x.dtype != jnp.float32:
            return x
        return jax.lax.platform_dependent(x, step.one, tpu=jnp.multiply, default=lambda x, one: x)

    return jax.tree.map(of, constants)


class _Gradients(NamedTuple):
    """Sums over tokens: of each part of the batch (N), or of all of it."""

    matrix: Float[Array, "*N D V"]
    bias: Float[Array, "*N V"] | None


def _of_parameters(
    hidden: Array, d_product: Array, parts: tuple[int, ...], has_bias: bool
) -> _Gradients:
    """Returns the gradients of a chunk."""
    # [B, t, ...] -> [*N, tokens, ...]
    hidden, d_product = (x.reshape(*parts, -1, x.shape[-1]) for x in (hidden, d_product))
    matrix = jnp.einsum("...td,...tv->...dv", hidden, d_product, preferred_element_type=jnp.float32)
    if not has_bias:
        return _Gradients(matrix, None)
    return _Gradients(matrix, jnp.sum(d_product.astype(jnp.float32), axis=-2))


def _with_gradients_of(sums: _Gradients, hidden: Array, d_product: Array) -> _Gradients:
    """Returns the sums and a chunk's gradients together."""
    parts, embed = sums.matrix.shape[:-2], sums.matrix.shape[-2]
    tokens = hidden.shape[0] * hidden.shape[1] // math.prod(parts)
    blocks = next(n for n in range(1, embed + 1) if embed % n == 0 and embed <= n * tokens)
    size = embed // blocks

    def whole(sums, hidden, d_product):
        return _added(sums, _of_parameters(hidden, d_product, parts, sums.bias is not None))

    def in_blocks(sums, hidden, d_product):
        """XLA's CPU products cannot add to what is there: each fills no more than the logits do."""

        def body(index, matrix):
            block = jax.lax.dynamic_slice_in_dim(hidden, index * size, size, axis=2)
            there = jax.lax.dynamic_slice_in_dim(matrix, index * size, size, axis=-2)
            there += _of_parameters(block, d_product, parts, has_bias=False).matrix
            return jax.lax.dynamic_update_slice_in_dim(matrix, there, index * size, axis=-2)

        matrix = jax.lax.fori_loop(0, blocks, body, sums.matrix)
        if sums.bias is None:
            return _Gradients(matrix, None)
        d_bias = jnp.sum(d_product.astype(jnp.float32).reshape(*parts, tokens, -1), axis=-2)
        return _Gradients(matrix, sums.bias + d_bias)

    if blocks == 1:
        return whole(sums, hidden, d_product)
    return jax.lax.platform_dependent(sums, hidden, d_product, cpu=in_blocks, default=whole)


def _pinned(gradients: _Gradients) -> _Gradients:
    """Keeps each part's sums on the devices of the part."""
    matrix, bias = gradients
    parts = ("batch",) * (matrix.ndim - 2)
    matrix = constrain(matrix, (*parts, "embed", "vocab"))
    return _Gradients(matrix, None if bias is None else constrain(bias, (*parts, "vocab")))


def _over_parts(sums: Array, ndim: int) -> Array:
    return sums if sums.ndim == ndim else jnp.sum(sums, axis=0)


def _product(head: Unembedding, hidden: Array) -> Array:
    return constrain(head.product(hidden), ("batch", "length", "vocab"))


def _chunk(arrays: Any, index: Any, num_chunks: int) -> Any:
    """Returns one of the equal pieces of axis 1."""

    def of(x: Array) -> Array:
        size = x.shape[1] // num_chunks
        return jax.lax.dynamic_slice_in_dim(x, index * size, size, axis=1)

    return jax.tree.map(of, arrays)


def _added(sums: Any, more: Any) -> Any:
    return jax.tree.map(jnp.add, sums, more)


def _zeros(shapes: Any) -> Any:
    return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
