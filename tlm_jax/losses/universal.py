"""A distance between distributions over vocabularies that have nothing in common."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def sorted_l1(
    teacher_logits: Float[Array, "*batch W"], logits: Float[Array, "*batch V"]
) -> Float[Array, "*batch"]:
    """Returns sum_i |p_(i) - q_(i)|, the probabilities of each sorted in descending order.

    The shorter is filled up with zeros. It compares how sure teacher and student are, not of what.
    Gradients go to the student's `logits` alone. It sorts the whole vocabulary for every token:
    the other losses, through alignment and a map between vocabularies, tell more and cost less.

    Source: universal logit distillation, arXiv 2402.12030, equation 4.
    """
    width = max(teacher_logits.shape[-1], logits.shape[-1])
    p, q = (_descending(x, width) for x in (jax.lax.stop_gradient(teacher_logits), logits))
    return jnp.sum(jnp.abs(p - q), axis=-1)


def _descending(logits: Array, width: int) -> Array:
    probabilities = jax.nn.softmax(logits.astype(jnp.float32), axis=-1)
    filling = ((0, 0),) * (logits.ndim - 1) + ((0, width - logits.shape[-1]),)
    return jnp.pad(jnp.sort(probabilities, axis=-1, descending=True), filling)
