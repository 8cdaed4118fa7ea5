"""Objectives: what a batch and parameters are worth, as a sum and a weight."""

from __future__ import annotations

from dataclasses import dataclass

import jax

from tlm_jax import models
from tlm_jax.losses import fused
from tlm_jax.losses.reduction import AUTO, LossOutput, loss_weights_and_normalizer
from tlm_jax.training.step import Objective
from tlm_jax.types import Batch, Params


@dataclass(frozen=True)
class CrossEntropy:
    """Teacher-forced cross-entropy on the target tokens.

    Attributes:
      label_smoothing: mass taken from the target and spread over the other tokens.
      z_loss: weight of log²Z, which keeps the log-normaliser near zero.
      normalization: what divides the batch's sum, by T5X's names; see
        `losses.reduction.loss_weights_and_normalizer`. AUTO: a run takes what the state of its
        optimizer was made with (`runs.normalization`).
      chunk_tokens: how many tokens' logits exist at a time on a device.
    """

    label_smoothing: float = 0.0
    z_loss: float = 1e-4
    normalization: str | float | None = AUTO
    chunk_tokens: int = 512


def cross_entropy(
    config: models.ModelConfig, loss: CrossEntropy, *, batch_rows: int | None = None
) -> Objective:
    """Returns the supervised objective for a model; logits never exist as [B, T, V].

    Args:
      config: the model.
      loss: the settings.
      batch_rows: rows of the whole batch, where the objective sees micro-batches of it.
    """

    def objective(params: Params, batch: Batch, dropout_rng: jax.Array | None) -> LossOutput:
        weights, normalizer = loss_weights_and_normalizer(
            loss.normalization, batch, batch_rows=batch_rows
        )
        output = fused.cross_entropy_from_hidden(
            models.hidden_states(params, batch, config, dropout_rng=dropout_rng),
            models.unembedding(params, config),
            batch["decoder_target_tokens"],
            weights,
            label_smoothing=loss.label_smoothing,
            z_loss=loss.z_loss,
            chunk_tokens=loss.chunk_tokens,
        )
        return output.with_normalizer(normalizer)

    return objective
