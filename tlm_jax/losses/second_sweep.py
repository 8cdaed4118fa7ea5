"""Takes the gradient of a narrow matrix block by block of V, in a second sweep over all tokens.

A matrix's gradient is a sum over chunks of tokens, taken in float32. Where the matrix is narrower,
the sum cannot lie where its result will, and would be the largest array of the loss: twice a
bfloat16 matrix. Of a block of V it is small; a block's logits are computed anew, and the loss is
differentiated by them with the statistics that the first sweep kept.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from tlm_jax.losses import chunks
from tlm_jax.losses.chunks import ChunkLoss, Gradients
from tlm_jax.losses.columns import Columns
from tlm_jax.sharding.rules import axis_shards, batch_shards
from tlm_jax.types import Unembedding


def parameter_gradients(
    loss: ChunkLoss, head: Unembedding, arrays: Any, shared: Any, num_chunks: int
) -> Gradients:
    """Returns the gradients of matrix and bias, in their own types.

    Args:
      loss: whose total is differentiated.
      head: the student's.
      arrays: hidden states [B, T, D], inputs, and statistics of all tokens.
      shared: as of `loss`.
      num_chunks: of the first sweep; divides T.
    """
    hidden = arrays[0]
    embed, vocabulary = head.matrix.shape
    tokens = max(1, hidden.shape[0] * hidden.shape[1] // num_chunks // batch_shards())
    groups = _groups(num_chunks, tokens, embed)
    parts = chunks.batch_parts(hidden.shape[0])
    blocks = _blocks(vocabulary, tokens, embed)

    def body(done: Gradients, step: chunks.Step):
        def take(x: Array) -> Array:
            return blocks.take(x, step.number)

        bias = None if head.bias is None else take(head.bias)
        block = head._replace(matrix=take(head.matrix), bias=bias)
        ids = take(jnp.arange(vocabulary))

        def of_group(index: Int[Array, ""]) -> Gradients:
            hidden, inputs, statistics = chunks.chunk(arrays, index, groups)
            scaled = head.scaled(hidden)
            inputs, narrowed = loss.narrowed(inputs, shared, take)
            narrowed = chunks.read_in(step, narrowed)
            columns = Columns(ids, vocabulary, statistics)

            def total(product):
                return loss.output(block.finish(product), inputs, narrowed, columns).loss.total

            d_product = jax.grad(total)(chunks.product(block, scaled)).astype(scaled.dtype)
            return chunks.gradients_of(scaled, d_product, parts, has_bias=bias is not None)

        zero = chunks.zero_gradients(block.matrix, bias, parts)
        sums = jax.lax.fori_loop(
            0, groups, lambda i, sums: chunks.pinned(chunks.added(sums, of_group(i))), zero
        )

        def put(there: Array, x: Array) -> Array:
            return blocks.put(there, x.astype(there.dtype), step.number)

        return jax.tree.map(put, done, chunks.over_parts(sums)), None

    done = Gradients(jnp.zeros_like(head.matrix), chunks.zeros(head.bias))
    return jax.lax.scan(body, done, chunks.steps(blocks.number))[0]


class _Blocks(NamedTuple):
    """Blocks of V: of each device's part of it, `width` columns. The last may overlap another."""

    shards: int
    part: int
    width: int
    number: int

    def take(self, x: Array, index: Array) -> Array:
        """Returns a block of the last axis."""
        block = jax.lax.dynamic_slice_in_dim(self._split(x), self._start(index), self.width, -1)
        return block.reshape(*x.shape[:-1], self.shards * self.width)

    def put(self, x: Array, block: Array, index: Array) -> Array:
        """Returns the array with a block of its last axis replaced."""
        block = block.reshape(*x.shape[:-1], *self._axes, self.width)
        split = jax.lax.dynamic_update_slice_in_dim(self._split(x), block, self._start(index), -1)
        return split.reshape(x.shape)

    @property
    def _axes(self) -> tuple[int, ...]:
        return () if self.shards == 1 else (self.shards,)

    def _split(self, x: Array) -> Array:
        return x.reshape(*x.shape[:-1], *self._axes, self.part)

    def _start(self, index: Array) -> Array:
        return jnp.minimum(index * self.width, self.part - self.width)


def _blocks(vocabulary: int, tokens: int, embed: int) -> _Blocks:
    """Returns blocks whose [D, v] sums are about a quarter of what a chunk's logits are."""
    shards = axis_shards("vocab", vocabulary)
    part = vocabulary // shards
    lanes = 128  # columns that a TPU's arrays come in
    width = min(part, -(-tokens * part // (4 * embed * lanes)) * lanes)
    return _Blocks(shards, part, width, -(-part // width))


def _groups(num_chunks: int, tokens: int, embed: int) -> int:
    """Returns into how many equal groups of chunks tokens are put, no more than D in each.

    Then a block's logits are about the size of its sums, which are read and written for each group.
    """
    divisors = (n for n in range(1, num_chunks + 1) if num_chunks % n == 0)
    return next(n for n in divisors if num_chunks // n * tokens <= max(embed, tokens))
