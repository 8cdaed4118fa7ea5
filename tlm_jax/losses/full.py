"""Divergences between whole next-token distributions, from the logits of teacher and student."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from tlm_jax.losses.divergences import Divergence


def full_divergence(
    divergence: Divergence,
    teacher_logits: Float[Array, "*batch V"],
    logits: Float[Array, "*batch V"],
    *,
    temperature: float = 1.0,
) -> Float[Array, "*batch"]:
    """Returns the divergence of softmax(logits / temperature) from the teacher's, in nats.

    The gradient goes to the student's `logits` alone: (s_v - q_v sum_u s_u) / temperature, with s
    the slopes of the divergence's terms by log q. It is written out because it then is one more
    sweep over the two; derived, half a dozen arrays of the logits' size would be kept for it.
    """
    return _full_divergence(divergence, temperature, teacher_logits, logits)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _full_divergence(
    divergence: Divergence, temperature: float, teacher_logits: Array, logits: Array
) -> Array:
    return _forward(divergence, temperature, teacher_logits, logits)[0]


def _forward(divergence, temperature, teacher_logits, logits):
    normalizers = _normalizers(teacher_logits, temperature), _normalizers(logits, temperature)
    log_p = _log_softmax(teacher_logits, normalizers[0], temperature)
    log_q = _log_softmax(logits, normalizers[1], temperature)
    value = jnp.sum(divergence.terms(log_p, log_q), axis=-1)
    slope = jnp.sum(divergence.slopes(log_p, log_q), axis=-1)
    return value, (teacher_logits, logits, normalizers, slope)


def _backward(divergence, temperature, residuals, cotangent):
    teacher_logits, logits, *statistics = residuals
    # Without the barrier XLA may keep the forward sweep's exponentials for this one.
    normalizers, slope = jax.lax.optimization_barrier(tuple(statistics))
    log_p = _log_softmax(teacher_logits, normalizers[0], temperature)
    log_q = _log_softmax(logits, normalizers[1], temperature)
    slopes = divergence.slopes(log_p, log_q) - jnp.exp(log_q) * slope[..., None]
    return None, (cotangent / temperature)[..., None] * slopes


_full_divergence.defvjp(_forward, _backward)


def _normalizers(logits: Array, temperature: float) -> tuple[Array, Array]:
    """Returns the largest logit, and the log of the sum of exponentials relative to it."""
    largest = jnp.max(logits, axis=-1)
    relative = _divided(logits - largest[..., None], temperature)
    return largest, jnp.log(jnp.sum(jnp.exp(relative), axis=-1))


def _log_softmax(logits: Array, normalizers: tuple[Array, Array], temperature: float) -> Array:
    largest, log_sum = normalizers
    return _divided(logits - largest[..., None], temperature) - log_sum[..., None]


def _divided(array: Array, temperature: float) -> Array:
    return array if temperature == 1.0 else array / temperature
