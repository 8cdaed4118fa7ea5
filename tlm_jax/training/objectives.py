"""Objectives: what a batch and parameters are worth, as a sum and a weight."""

from __future__ import annotations

from dataclasses import dataclass

import jax

from tlm_jax import models
from tlm_jax.losses import fused
from tlm_jax.losses.reduction import LossOutput
from tlm_jax.training.step import Objective
from tlm_jax.types import Batch, Params


@dataclass(frozen=True)
class CrossEntropy:
    """Teacher-forced cross-entropy on the target tokens.

    Attributes:
      label_smoothing: mass taken from the target and spread over the other tokens.
      z_loss: weight of log²Z, which keeps the log-normaliser near zero.
      chunk_tokens: how many tokens' logits exist at a time.
    """

    label_smoothing: float = 0.0
    z_loss: float = 1e-4
    chunk_tokens: int = 1024


def cross_entropy(config: models.ModelConfig, loss: CrossEntropy) -> Objective:
    """Returns the supervised objective for a model; logits never exist as [B, T, V]."""

    def objective(params: Params, batch: Batch, dropout_rng: jax.Array | None) -> LossOutput:
        hidden = models.hidden_states(params, batch, config, dropout_rng=dropout_rng)
        return fused.cross_entropy_from_hidden(
            hidden,
            models.unembedding(params, config),
            batch["decoder_target_tokens"],
            batch["decoder_loss_weights"],
            label_smoothing=loss.label_smoothing,
            z_loss=loss.z_loss,
            chunk_tokens=loss.chunk_tokens,
        )

    return objective
