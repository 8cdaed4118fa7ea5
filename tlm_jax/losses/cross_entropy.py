"""Softmax cross entropy of target tokens with label smoothing, a z-loss and accuracy."""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Num

from tlm_jax.errors import UserError
from tlm_jax.losses.columns import Columns
from tlm_jax.losses.reduction import LossOutput, WeightedSum


def cross_entropy(
    logits: Float[Array, "*batch V"],
    targets: Int[Array, "*batch"],
    weights: Num[Array, "*batch"],
    *,
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    columns: Columns | None = None,
) -> LossOutput:
    """Returns the weighted sum of each token's cross entropy and z-loss, in nats.

    For one token with logits x, log Z = logsumexp(x) and label smoothing e,

        loss = -sum_v q_v log softmax(x)_v - H + z_loss * (log Z)^2,
        q_v = 1 - e for the target, e / (V - 1) for the others,

    where H, the entropy of q, makes 0 the least possible cross entropy. Everything is float32.

    Args:
      logits: unnormalised log-probabilities.
      targets: token ids; those of weight 0 may be anything in [0, V).
      weights: 0 leaves a token out of loss, gradient and metrics.
      label_smoothing: e above.
      z_loss: coefficient of the squared log-normalizer.
      columns: which of the logits these are, with `token_statistics` of all; None: these are all.

    Returns:
      The loss over the sum of the weights; `cross_ent_loss` (without the z-loss) and `z_loss`
      over the same; `accuracy` over the number of tokens whose weight is not 0, each counting
      once if no logit is larger than the target's and no token of smaller id has an equal one.

    Source: t5x.losses.compute_weighted_cross_entropy.
    """
    terms = token_terms(
        logits, targets, label_smoothing=label_smoothing, z_loss=z_loss, columns=columns
    )
    return reduce_terms(terms, weights.astype(jnp.float32))


def token_terms(
    logits: Float[Array, "*batch V"],
    targets: Int[Array, "*batch"],
    *,
    label_smoothing: float,
    z_loss: float,
    columns: Columns | None = None,
) -> tuple[Float[Array, "*batch"], Float[Array, "*batch"], Float[Array, "*batch"]]:
    """Returns each token's cross entropy, z-loss, and 1 where the target is the best guess."""
    if not 0.0 <= label_smoothing < 1.0:
        raise UserError(f"label_smoothing is {label_smoothing}: give a number from 0 to below 1")
    logits = logits.astype(jnp.float32)
    if columns is None:
        statistics = token_statistics(logits, targets, label_smoothing=label_smoothing)
        columns = Columns(jnp.arange(logits.shape[-1]), logits.shape[-1], statistics)
    soft = _soft_targets(label_smoothing, columns.vocabulary_size)
    terms: Any = _cross_entropy_and_log_z(soft, columns.statistics, logits, targets, columns.ids)
    cross_ent, log_z = terms
    return cross_ent, z_loss * jnp.square(log_z), columns.statistics.correct


class TokenStatistics(NamedTuple):
    """What cross entropy knows of tokens' logits.

    Attributes:
      cross_ent: above its least value, nats.
      largest: the largest logit.
      log_sum: log-normalizer less the largest logit.
      correct: 1 where the target is the best guess, else 0.
    """

    cross_ent: Float[Array, "*batch"]
    largest: Float[Array, "*batch"]
    log_sum: Float[Array, "*batch"]
    correct: Float[Array, "*batch"]


def token_statistics(
    logits: Float[Array, "*batch V"], targets: Int[Array, "*batch"], *, label_smoothing: float
) -> TokenStatistics:
    """Returns what `token_terms` needs to know of all logits, with which it can see few of them."""
    logits = jax.lax.stop_gradient(logits.astype(jnp.float32))
    largest = jnp.max(logits, axis=-1)
    shifted = logits - largest[..., None]
    log_sum = jnp.log(jnp.sum(jnp.exp(shifted), axis=-1))
    own = _at_targets(logits, targets)
    vocabulary_size = logits.shape[-1]
    on, off = _soft_targets(label_smoothing, vocabulary_size)
    cross_ent = -(on - off) * ((own - largest) - log_sum)
    if label_smoothing:
        entropy = -(on * math.log(on) + (vocabulary_size - 1) * off * math.log(off + 1e-20))
        cross_ent -= off * (jnp.sum(shifted, axis=-1) - vocabulary_size * log_sum) + entropy
    ids, own, target = _ids(logits, targets), own[..., None], targets[..., None]
    beaten = jnp.any(((logits > own) & (ids != target)) | ((logits == own) & (ids < target)), -1)
    return TokenStatistics(cross_ent, largest, log_sum, (~beaten).astype(jnp.float32))


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _cross_entropy_and_log_z(
    soft: tuple[float, float],
    statistics: TokenStatistics,
    logits: Float[Array, "*batch v"],
    targets: Int[Array, "*batch"],
    ids: Int[Array, " v"],
) -> tuple[Float[Array, "*batch"], Float[Array, "*batch"]]:
    """Returns each token's cross entropy above its least value, and its log-normalizer.

    The gradient is written out because it then needs the logits alone, in one sweep over them:
    derived, it would keep their exponentials too and scatter into a third array of their size.
    """
    del soft, logits, targets, ids
    return statistics.cross_ent, statistics.log_sum + statistics.largest


def _forward(soft, statistics, logits, targets, ids):
    terms = _cross_entropy_and_log_z(soft, statistics, logits, targets, ids)
    return terms, (statistics, logits, targets, ids)


def _backward(soft, residuals, cotangents):
    statistics, logits, targets, ids = residuals
    d_cross_ent, d_log_z = cotangents
    # Without the barrier XLA shares `logits - largest` with the forward sum, by storing it.
    largest, log_sum = jax.lax.optimization_barrier((statistics.largest, statistics.log_sum))
    # Not exp(logits - log Z): where logits are large, log Z has lost the digits that matter.
    softmax = jnp.exp(logits - largest[..., None] - log_sum[..., None])
    on, off = soft
    ids = jnp.expand_dims(ids, range(targets.ndim))
    soft_targets = jnp.where(ids == targets[..., None], on, off)
    d_logits = (d_cross_ent + d_log_z)[..., None] * softmax - d_cross_ent[..., None] * soft_targets
    return None, d_logits, None, None


_cross_entropy_and_log_z.defvjp(_forward, _backward)


def _soft_targets(label_smoothing: float, vocabulary_size: int) -> tuple[float, float]:
    """Returns the probability of the target, and that of each other token."""
    return 1.0 - label_smoothing, label_smoothing / (vocabulary_size - 1)


def _at_targets(
    logits: Float[Array, "*batch V"], targets: Int[Array, "*batch"]
) -> Float[Array, "*batch"]:
    return jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]


def _ids(logits: Float[Array, "*batch V"], targets: Int[Array, "*batch"]) -> Int[Array, "*batch V"]:
    return jax.lax.broadcasted_iota(targets.dtype, logits.shape, logits.ndim - 1)


def reduce_terms(
    terms: tuple[Float[Array, "*batch"], Float[Array, "*batch"], Float[Array, "*batch"]],
    weights: Float[Array, "*batch"],
) -> LossOutput:
    """Returns the weighted sums of what `token_terms` gave; metrics carry no gradient."""
    cross_ent, z_term, correct = terms
    counted = (weights != 0).astype(jnp.float32)
    weight = jnp.sum(weights)
    metrics = {
        "cross_ent_loss": WeightedSum(jnp.sum(cross_ent * weights), weight),
        "z_loss": WeightedSum(jnp.sum(z_term * weights), weight),
        "accuracy": WeightedSum(jnp.sum(correct * counted), jnp.sum(counted)),
    }
    total = metrics["cross_ent_loss"].total + metrics["z_loss"].total
    return LossOutput(WeightedSum(total, weight), jax.lax.stop_gradient(metrics))
