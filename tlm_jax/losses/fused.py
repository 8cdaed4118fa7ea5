"""Losses straight from hidden states, so that [tokens, V] logits never exist at once."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Num

from tlm_jax.losses.cross_entropy import cross_entropy
from tlm_jax.losses.distillation import Distillation, distillation_loss
from tlm_jax.losses.reduction import LossOutput
from tlm_jax.losses.teachers import DenseTeacher, Teacher
from tlm_jax.sharding.rules import batch_shards, constrain
from tlm_jax.types import Unembedding


def cross_entropy_from_hidden(
    hidden: Float[Array, "B T D"],
    unembedding: Unembedding,
    targets: Int[Array, "B T"],
    weights: Num[Array, "B T"],
    *,
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    chunk_tokens: int = 512,
) -> LossOutput:
    """Returns what `cross_entropy` does of `unembedding.logits(hidden)`, in chunks.

    The T axis is cut into chunks of about `chunk_tokens` tokens on each device, and the logits of
    one chunk at a time exist, forwards and backwards: when differentiated, the gradients of
    hidden states, matrix and bias are taken within the forward sweep, while a chunk's logits are
    at hand, and only scaled in the backward pass. No product is computed twice. Undifferentiated,
    no gradient is computed.

    Gradients flow through the loss to hidden states, `unembedding.matrix` and `unembedding.bias`;
    the weights and the metrics are constants.

    Args:
      hidden: the model's last hidden states.
      unembedding: `[D, V]` matrix, scale, soft cap and bias. Where it is narrower than float32,
        so are the operands of the products; accumulation is float32.
      targets: token ids; those of weight 0 may be anything in [0, V).
      weights: 0 leaves a token out of loss, gradient and metrics.
      label_smoothing: as in `cross_entropy`.
      z_loss: as in `cross_entropy`.
      chunk_tokens: how many tokens' logits exist at once on a device; at least one position of
        every row.
    """

    def loss_of(logits: Array, inputs: Any, shared: Any) -> LossOutput:
        del shared
        return cross_entropy(logits, *inputs, label_smoothing=label_smoothing, z_loss=z_loss)

    inputs = (targets, weights.astype(jnp.float32))
    return _in_chunks(loss_of, hidden, unembedding, inputs, None, chunk_tokens)


def distillation_from_hidden(
    hidden: Float[Array, "B T D"],
    unembedding: Unembedding,
    targets: Int[Array, "B T"],
    weights: Num[Array, "B T"],
    teacher: Teacher,
    settings: Distillation,
    *,
    chunk_tokens: int = 512,
) -> LossOutput:
    """Returns what `distillation_loss` does of `unembedding.logits(hidden)`, in chunks.

    As `cross_entropy_from_hidden`, whose sweep it is. Of a `DenseTeacher` a chunk's logits are
    computed beside the student's; no gradient goes to the teacher.

    Args:
      hidden: the student's last hidden states.
      unembedding: the student's.
      targets: token ids, for the cross entropy; those of weight 0 may be anything in [0, V).
      weights: 0 leaves a token out of loss, gradient and metrics.
      teacher: what the teacher says of the targets.
      settings: as in `distillation_loss`.
      chunk_tokens: how many tokens' logits (student's, and those of a dense teacher) exist at once
        on a device; at least one position of every row.
    """
    kind = type(teacher)
    if isinstance(teacher, DenseTeacher):
        said, shared = (teacher.hidden, teacher.weights), _gathered(teacher.unembedding)
    else:
        said, shared = tuple(teacher), None

    def loss_of(logits: Array, inputs: Any, shared: Any) -> LossOutput:
        targets, weights, said = inputs
        chunk = DenseTeacher(said[0], shared, said[1]) if kind is DenseTeacher else kind(*said)
        return distillation_loss(logits, targets, weights, chunk, settings)

    inputs = (targets, weights.astype(jnp.float32), said)
    return _in_chunks(loss_of, hidden, unembedding, inputs, shared, chunk_tokens)


def _in_chunks(
    loss_of: Callable[[Array, Any, Any], LossOutput],
    hidden: Float[Array, "B T D"],
    unembedding: Unembedding,
    inputs: Any,
    shared: Any,
    chunk_tokens: int,
) -> LossOutput:
    """Returns the sum of `loss_of(logits, inputs, shared)` over chunks of the T axis.

    `inputs` is a tree of arrays [B, T, ...], `shared` one of arrays that every chunk sees whole.
    Positions added to fill the last chunk are zeros, so their weight is 0.
    """
    rows, length, _ = hidden.shape
    chunk_length = min(length, max(1, chunk_tokens * batch_shards() // rows))
    num_chunks = -(-length // chunk_length)

    def padded(x: Array) -> Array:
        end = num_chunks * chunk_length - length
        return jnp.pad(x, ((0, 0), (0, end)) + ((0, 0),) * (x.ndim - 2))

    head = _gathered(unembedding)
    return _sweep(
        _Static(loss_of, unembedding.soft_cap, num_chunks),
        padded(unembedding.scaled(hidden)),
        head.matrix,
        head.bias,
        jax.lax.stop_gradient(jax.tree.map(padded, inputs)),
        jax.lax.stop_gradient(shared),
    )


def _gathered(unembedding: Unembedding) -> Unembedding:
    """Gathers the matrix over fsdp once, not for every chunk; V stays split."""
    return unembedding._replace(matrix=constrain(unembedding.matrix, ("embed", "vocab")))


class _Static(NamedTuple):
    loss_of: Callable[[Array, Any, Any], LossOutput]
    soft_cap: float | None
    num_chunks: int


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _sweep(static: _Static, hidden, matrix, bias, inputs, shared) -> LossOutput:
    """The sum over chunks without gradients; `hidden` is already scaled, T a multiple of chunks."""
    head = Unembedding(matrix, soft_cap=static.soft_cap, bias=bias)

    def one(chunk):
        hidden, inputs = chunk
        return static.loss_of(head.finish(_product(head, hidden)), inputs, shared), None

    return _sum_over_chunks(one, (hidden, inputs), static.num_chunks)[0]


def _sweep_with_gradients(static: _Static, hidden, matrix, bias, inputs, shared):
    """The same sum, and the gradients of its loss total."""
    head = Unembedding(matrix, soft_cap=static.soft_cap, bias=bias)

    def one(chunk):
        hidden, inputs = chunk

        def loss_of_product(product, bias):
            logits = head._replace(bias=bias).finish(product)
            output = static.loss_of(logits, inputs, shared)
            return output.loss.total, output

        gradient = jax.grad(loss_of_product, argnums=(0, 1), has_aux=True)
        (d_product, d_bias), output = gradient(_product(head, hidden), bias)
        d_product = d_product.astype(hidden.dtype)
        d_matrix = jnp.einsum("btd,btv->dv", hidden, d_product, preferred_element_type=jnp.float32)
        d_hidden = jnp.einsum(
            "btv,dv->btd",
            d_product,
            matrix.astype(hidden.dtype),
            preferred_element_type=jnp.float32,
        )
        return (output, d_matrix, d_bias), d_hidden.astype(hidden.dtype)

    (output, d_matrix, d_bias), d_hidden = _sum_over_chunks(
        one, (hidden, inputs), static.num_chunks
    )
    return output, (d_hidden, d_matrix.astype(matrix.dtype), d_bias)


def _scale_gradients(static: _Static, gradients, cotangent: LossOutput):
    del static
    d_hidden, d_matrix, d_bias = jax.tree.map(
        lambda x: (cotangent.loss.total * x).astype(x.dtype), gradients
    )
    return d_hidden, d_matrix, d_bias, None, None


_sweep.defvjp(_sweep_with_gradients, _scale_gradients)


def _product(head: Unembedding, hidden: Array) -> Array:
    return constrain(head.product(hidden), ("batch", "length", "vocab"))


def _sum_over_chunks(one, arrays: Any, num_chunks: int):
    """Returns the sum of `one`'s first results over pieces of axis 1, and its second, joined."""
    if num_chunks == 1:
        return one(arrays)
    chunk_length = jax.tree.leaves(arrays)[0].shape[1] // num_chunks

    def chunk(index):
        start = index * chunk_length
        return jax.tree.map(
            lambda x: jax.lax.dynamic_slice_in_dim(x, start, chunk_length, axis=1), arrays
        )

    def body(sums, index):
        summed, joined = one(chunk(index))
        return jax.tree.map(jnp.add, sums, summed), joined

    summed, _ = jax.eval_shape(lambda: one(chunk(0)))
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), summed)
    sums, joined = jax.lax.scan(body, zeros, jnp.arange(num_chunks))
    # [chunks, B, T/chunks, ...] -> [B, T, ...]
    joined = jax.tree.map(
        lambda x: jnp.moveaxis(x, 0, 1).reshape(x.shape[1], -1, *x.shape[3:]), joined
    )
    return sums, joined
