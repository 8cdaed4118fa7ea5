"""Divergences between whole next-token distributions, from the logits of teacher and student."""

from __future__ import annotations

import functools
from typing import NamedTuple

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
    statistics: FullStatistics | None = None,
) -> Float[Array, "*batch"]:
    """Returns the divergence of softmax(logits / temperature) from the teacher's, in nats.

    The gradient goes to the student's `logits` alone: (s_v - q_v sum_u s_u) / temperature, with s
    the slopes of the divergence's terms by log q. It is written out because it then is one more
    sweep over the two; derived, half a dozen arrays of the logits' size would be kept for it.

    Args:
      divergence: between the two.
      teacher_logits: constants.
      logits: the student's.
      temperature: divides both.
      statistics: `full_statistics` of all logits, where these are only some columns of them.
    """
    if statistics is None:
        statistics = full_statistics(divergence, teacher_logits, logits, temperature=temperature)
    return _full_divergence(divergence, temperature, statistics, teacher_logits, logits)


class FullStatistics(NamedTuple):
    """What a divergence between whole distributions knows of tokens' logits.

    Attributes:
      value: the divergence, nats.
      slope: the sum of its terms' slopes by log q.
      teacher: the largest logit, and the log of the sum of exponentials relative to it.
      student: the same.
    """

    value: Float[Array, "*batch"]
    slope: Float[Array, "*batch"]
    teacher: tuple[Array, Array]
    student: tuple[Array, Array]


def full_statistics(
    divergence: Divergence,
    teacher_logits: Float[Array, "*batch V"],
    logits: Float[Array, "*batch V"],
    *,
    temperature: float,
) -> FullStatistics:
    """Returns what `full_divergence` needs to know of all logits."""
    logits = jax.lax.stop_gradient(logits)
    teacher, student = _normalizers(teacher_logits, temperature), _normalizers(logits, temperature)
    log_p = _log_softmax(teacher_logits, teacher, temperature)
    log_q = _log_softmax(logits, student, temperature)
    value = jnp.sum(divergence.terms(log_p, log_q), axis=-1)
    slope = jnp.sum(divergence.slopes(log_p, log_q), axis=-1)
    return FullStatistics(value, slope, teacher, student)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _full_divergence(
    divergence: Divergence,
    temperature: float,
    statistics: FullStatistics,
    teacher_logits: Array,
    logits: Array,
) -> Array:
    del divergence, temperature, teacher_logits, logits
    return statistics.value


def _forward(divergence, temperature, statistics, teacher_logits, logits):
    del divergence, temperature
    return statistics.value, (statistics, teacher_logits, logits)


def _backward(divergence, temperature, residuals, cotangent):
    statistics, teacher_logits, logits = residuals
    # Without the barrier XLA may keep the forward sweep's exponentials for this one.
    _, slope, teacher, student = jax.lax.optimization_barrier(statistics)
    log_p = _log_softmax(teacher_logits, teacher, temperature)
    log_q = _log_softmax(logits, student, temperature)
    slopes = divergence.slopes(log_p, log_q) - jnp.exp(log_q) * slope[..., None]
    return None, None, (cotangent / temperature)[..., None] * slopes


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
