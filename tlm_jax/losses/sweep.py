"""Sums a loss of logits over chunks of tokens, so that [tokens, V] logits never exist at once.

When differentiated, gradients are taken within the forward sweep, while a chunk's logits are at
hand, and only scaled in the backward pass: no product is computed twice, but for the gradient of a
matrix narrower than float32 (`losses.second_sweep`). Undifferentiated, no gradient is computed.
"""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from tlm_jax.losses import chunks
from tlm_jax.losses.chunks import ChunkLoss, Gradients
from tlm_jax.losses.reduction import LossOutput
from tlm_jax.losses.second_sweep import parameter_gradients
from tlm_jax.sharding.rules import batch_shards, constrain
from tlm_jax.types import Unembedding


def loss_in_chunks(
    loss: ChunkLoss,
    hidden: Float[Array, "B T D"],
    unembedding: Unembedding,
    inputs: Any,
    shared: Any,
    *,
    chunk_tokens: int,
    second_sweep: bool,
) -> LossOutput:
    """Returns the sum of the loss over chunks of the T axis.

    Gradients flow through the loss to hidden states, `unembedding.matrix` and `unembedding.bias`;
    inputs, what is shared and the metrics are constants.

    Args:
      loss: of a chunk's logits.
      hidden: the model's last hidden states.
      unembedding: of the model. Where its matrix is narrower than float32, so are the operands of
        the products; accumulation is float32.
      inputs: a tree of arrays [B, T, ...].
      shared: a tree of arrays that every chunk sees whole.
      chunk_tokens: how many tokens' logits exist at once on a device; at least one position of
        every row.
      second_sweep: whether a matrix narrower than float32 gets its gradient in a sweep of its own.
    """
    rows, length, _ = hidden.shape
    chunk_length = min(length, max(1, chunk_tokens * batch_shards() // rows))
    num_chunks = -(-length // chunk_length)

    def padded(x: Array) -> Array:
        end = num_chunks * chunk_length - length
        return jnp.pad(x, ((0, 0), (0, end)) + ((0, 0),) * (x.ndim - 2))

    head = gathered(unembedding)
    return _sweep(
        _Static(loss, unembedding.soft_cap, num_chunks, second_sweep and _is_narrow(head.matrix)),
        padded(hidden),
        head.scale,
        head.matrix,
        head.bias,
        jax.lax.stop_gradient(jax.tree.map(padded, inputs)),
        jax.lax.stop_gradient(shared),
    )


def gathered(unembedding: Unembedding) -> Unembedding:
    """Gathers the matrix over fsdp once, not for every chunk; V stays split."""
    return unembedding._replace(matrix=constrain(unembedding.matrix, ("embed", "vocab")))


class _Static(NamedTuple):
    loss: ChunkLoss
    soft_cap: float | None
    num_chunks: int
    second_sweep: bool


def _is_narrow(matrix: Array) -> bool:
    return jnp.dtype(matrix.dtype).itemsize < jnp.dtype(jnp.float32).itemsize


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _sweep(static: _Static, hidden, scale, matrix, bias, inputs, shared) -> LossOutput:
    """The sum over chunks without gradients; T is a multiple of chunks."""

    def one(chunk, matrix, shared):
        hidden, inputs = chunk
        head = Unembedding(matrix, scale, static.soft_cap, bias)
        logits = head.finish(chunks.product(head, head.scaled(hidden)))
        return static.loss.of_all(logits, inputs, shared)[0]

    arrays, constants = (hidden, inputs), (matrix, shared)
    if static.num_chunks == 1:
        return one(arrays, *constants)
    zeros = chunks.zeros(
        jax.eval_shape(one, chunks.chunk(arrays, 0, static.num_chunks), *constants)
    )

    def body(sums, step):
        chunk = chunks.chunk(arrays, step.number, static.num_chunks)
        return chunks.added(sums, one(chunk, *chunks.read_in(step, constants))), None

    return jax.lax.scan(body, zeros, chunks.steps(static.num_chunks))[0]


class _Seen(NamedTuple):
    """What a chunk gives: its loss, the left operand of the product, gradients, statistics."""

    output: LossOutput
    scaled: Float[Array, "B t D"]
    d_product: Float[Array, "B t V"]
    d_hidden: Float[Array, "B t D"]
    statistics: Any


def _sweep_with_gradients(static: _Static, hidden, scale, matrix, bias, inputs, shared):
    """The same sum, and the gradients of its loss total."""

    def one(chunk, matrix, shared) -> _Seen:
        hidden, inputs = chunk
        head = Unembedding(matrix, scale, static.soft_cap, bias)
        scaled = head.scaled(hidden)

        def loss_of_product(product):
            output, statistics = static.loss.of_all(head.finish(product), inputs, shared)
            return output.loss.total, (output, statistics)

        gradient = jax.grad(loss_of_product, has_aux=True)
        d_product, (output, statistics) = gradient(chunks.product(head, scaled))
        d_product = d_product.astype(scaled.dtype)
        d_scaled = jnp.einsum(
            "btv,dv->btd",
            d_product,
            matrix.astype(scaled.dtype),
            preferred_element_type=jnp.float32,
        )
        d_hidden = (scale * d_scaled).astype(hidden.dtype)
        return _Seen(output, scaled, d_product, d_hidden, statistics)

    arrays, constants = (hidden, inputs), (matrix, shared)
    if static.num_chunks == 1:
        output, scaled, d_product, d_hidden, _ = one(arrays, *constants)
        gradients = chunks.gradients_of(scaled, d_product, (), has_bias=bias is not None)
    elif static.second_sweep:
        output, d_hidden, statistics = _scan_without_parameters(
            one, arrays, constants, static.num_chunks
        )
        gradients = parameter_gradients(
            static.loss,
            Unembedding(matrix, scale, static.soft_cap, bias),
            (hidden, inputs, statistics),
            shared,
            static.num_chunks,
        )
    else:
        output, d_hidden, gradients = _scan(one, arrays, constants, static.num_chunks, bias)
    d_matrix, d_bias = gradients
    if bias is not None and d_bias is not None:
        d_bias = d_bias.astype(bias.dtype)
    return output, (d_hidden, d_matrix.astype(matrix.dtype), d_bias)


def _scale_gradients(static: _Static, gradients, cotangent: LossOutput):
    del static
    d_hidden, d_matrix, d_bias = jax.tree.map(
        lambda x: (cotangent.loss.total * x).astype(x.dtype), gradients
    )
    return d_hidden, None, d_matrix, d_bias, None, None


_sweep.defvjp(_sweep_with_gradients, _scale_gradients)


def _scan(one, arrays: Any, constants: Any, num_chunks: int, bias: Array | None):
    """Returns the sums over chunks of `one`'s loss, d_hidden, and sums of parameter gradients.

    Each part of the batch that has devices of its own sums its parameter gradients apart, so that
    devices exchange them once after the sweep rather than for every chunk.
    """
    hidden, matrix = arrays[0], constants[0]
    sums = (
        _no_output(one, arrays, constants, num_chunks),
        jnp.zeros_like(hidden),
        chunks.zero_gradients(matrix, bias, chunks.batch_parts(hidden.shape[0])),
    )

    def body(sums, step):
        chunk = chunks.chunk(arrays, step.number, num_chunks)
        seen = one(chunk, *chunks.read_in(step, constants))
        output, d_hidden, gradients = sums
        gradients = chunks.pinned(_with_gradients_of(gradients, seen.scaled, seen.d_product))
        return (*_with(seen, output, d_hidden, step), gradients), None

    output, d_hidden, gradients = jax.lax.scan(body, sums, chunks.steps(num_chunks))[0]
    return output, d_hidden, chunks.over_parts(gradients)


def _scan_without_parameters(one, arrays: Any, constants: Any, num_chunks: int):
    """Returns the sum over chunks of `one`'s loss, d_hidden, and all tokens' statistics."""
    sums = _no_output(one, arrays, constants, num_chunks), jnp.zeros_like(arrays[0])

    def body(sums, step):
        chunk = chunks.chunk(arrays, step.number, num_chunks)
        seen = one(chunk, *chunks.read_in(step, constants))
        output, d_hidden = sums
        return _with(seen, output, d_hidden, step), seen.statistics

    (output, d_hidden), statistics = jax.lax.scan(body, sums, chunks.steps(num_chunks))

    def joined(x: Array) -> Array:
        # [chunks, B, t, ...] -> [B, chunks t, ...]
        x = jnp.moveaxis(x, 0, 1)
        return x.reshape(x.shape[0], -1, *x.shape[3:])

    return output, d_hidden, jax.tree.map(joined, statistics)


def _no_output(one, arrays: Any, constants: Any, num_chunks: int) -> LossOutput:
    return chunks.zeros(jax.eval_shape(one, chunks.chunk(arrays, 0, num_chunks), *constants).output)


def _with(seen: _Seen, output: LossOutput, d_hidden: Array, step: chunks.Step):
    """Returns the sums with a chunk's loss, and the hidden states' gradients with its own."""
    start = step.number * seen.d_hidden.shape[1]
    return (
        chunks.added(output, seen.output),
        jax.lax.dynamic_update_slice_in_dim(d_hidden, seen.d_hidden, start, axis=1),
    )


def _with_gradients_of(sums: Gradients, hidden: Array, d_product: Array) -> Gradients:
    """Returns the sums and a chunk's gradients together."""
    parts, embed = sums.matrix.shape[:-2], sums.matrix.shape[-2]
    tokens = hidden.shape[0] * hidden.shape[1] // math.prod(parts)
    blocks = next(n for n in range(1, embed + 1) if embed % n == 0 and embed <= n * tokens)
    size = embed // blocks
    has_bias = sums.bias is not None

    def whole(sums, hidden, d_product):
        return chunks.added(sums, chunks.gradients_of(hidden, d_product, parts, has_bias=has_bias))

    def in_blocks(sums, hidden, d_product):
        """XLA's CPU products cannot add to what is there: each fills no more than the logits do."""

        def body(index, matrix):
            block = jax.lax.dynamic_slice_in_dim(hidden, index * size, size, axis=2)
            there = jax.lax.dynamic_slice_in_dim(matrix, index * size, size, axis=-2)
            there += chunks.gradients_of(block, d_product, parts, has_bias=False).matrix
            return jax.lax.dynamic_update_slice_in_dim(matrix, there, index * size, axis=-2)

        matrix = jax.lax.fori_loop(0, blocks, body, sums.matrix)
        if sums.bias is None:
            return Gradients(matrix, None)
        d_bias = jnp.sum(d_product.astype(jnp.float32).reshape(*parts, tokens, -1), axis=-2)
        return Gradients(matrix, sums.bias + d_bias)

    if blocks == 1:
        return whole(sums, hidden, d_product)
    return jax.lax.platform_dependent(sums, hidden, d_product, cpu=in_blocks, default=whole)
