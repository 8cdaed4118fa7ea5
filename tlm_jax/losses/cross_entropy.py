"""Softmax cross entropy of target tokens with label smoothing, a z-loss and accuracy."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Num

from tlm_jax.errors import UserError
from tlm_jax.losses.reduction import LossOutput, WeightedSum


def cross_entropy(
    logits: Float[Array, "*batch V"],
    targets: Int[Array, "*batch"],
    weights: Num[Array, "*batch"],
    *,
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
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

    Returns:
      The loss over the sum of the weights; `cross_ent_loss` (without the z-loss) and `z_loss`
      over the same; `accuracy` over the number of tokens whose weight is not 0, each counting
      once, where targets that tie for the largest logit share the credit.

    Source: t5x.losses.compute_weighted_cross_entropy.
    """
    terms = _token_terms(logits, targets, label_smoothing=label_smoothing, z_loss=z_loss)
    return _reduce_terms(terms, weights.astype(jnp.float32))


def _token_terms(
    logits: Float[Array, "*batch V"],
    targets: Int[Array, "*batch"],
    *,
    label_smoothing: float,
    z_loss: float,
) -> tuple[Float[Array, "*batch"], Float[Array, "*batch"], Float[Array, "*batch"]]:
    """Returns each token's cross entropy, z-loss and share of a correct guess."""
    if not 0.0 <= label_smoothing < 1.0:
        raise UserError(f"label_smoothing is {label_smoothing}: give a number from 0 to below 1")
    vocabulary_size = logits.shape[-1]
    logits = logits.astype(jnp.float32)
    largest = jax.lax.stop_gradient(jnp.max(logits, axis=-1, keepdims=True))
    shifted = logits - largest
    # A comparison instead of a gather: it fuses, and stays local when V is sharded.
    is_target = jax.lax.broadcasted_iota(targets.dtype, logits.shape, logits.ndim - 1)
    is_target = is_target == targets[..., None]
    target_shifted = jnp.sum(jnp.where(is_target, shifted, 0.0), axis=-1)
    log_sum = jnp.log(jnp.sum(jnp.exp(shifted), axis=-1))
    if label_smoothing:
        on = 1.0 - label_smoothing
        off = label_smoothing / (vocabulary_size - 1)
        entropy = -(on * math.log(on) + (vocabulary_size - 1) * off * math.log(off + 1e-20))
        everywhere = jnp.sum(shifted, axis=-1) - vocabulary_size * log_sum
        cross_ent = -(on - off) * (target_shifted - log_sum) - off * everywhere - entropy
    else:
        cross_ent = log_sum - target_shifted
    z_term = z_loss * jnp.square(log_sum + largest[..., 0])
    # Not `logits == max`: where XLA computes a logit anew for the comparison it may differ in the
    # last bit, and then nothing is equal to the maximum.
    rivals, own = jax.lax.stop_gradient((shifted, target_shifted[..., None]))
    beaten = jnp.any((rivals > own) & ~is_target, axis=-1)
    tied = jnp.sum((rivals == own) & ~is_target, axis=-1)
    correct = jnp.where(beaten, 0.0, 1.0 / (1 + tied))
    return cross_ent, z_term, correct


def _reduce_terms(
    terms: tuple[Float[Array, "*batch"], Float[Array, "*batch"], Float[Array, "*batch"]],
    weights: Float[Array, "*batch"],
) -> LossOutput:
    """Returns the weighted sums of what `_token_terms` gave; metrics carry no gradient."""
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
