"""Objectives: what a batch and parameters are worth, as a sum and a weight.

The configuration of a loss builds its own: a run knows `LossConfig` and no loss by name.
"""

from __future__ import annotations

import abc
from dataclasses import dataclass

import jax

from tlm_jax import models
from tlm_jax.losses import fused
from tlm_jax.losses.reduction import (
    AUTO,
    LossNormalization,
    LossOutput,
    loss_weights_and_normalizer,
)
from tlm_jax.training.matching import InnerMatching
from tlm_jax.training.step import Objective
from tlm_jax.training.step_teacher import LiveModel
from tlm_jax.types import Batch, Params


@dataclass(frozen=True)
class ObjectiveContext:
    """The run that an objective is built for.

    Attributes:
      model: the model that is trained.
      batch_rows: rows of the whole batch, where the objective sees micro-batches of it.
      live: a teacher's model that runs in the step; None where there is none, or its rows are
        cached, in the batch.
      matching: of inner states with the live teacher's; batches then have been through its `weigh`.
    """

    model: models.ModelConfig
    batch_rows: int | None = None
    live: LiveModel | None = None
    matching: InnerMatching | None = None


@dataclass(frozen=True, kw_only=True)
class LossConfig(abc.ABC):
    """Settings of a loss; `LOSS` names one.

    Attributes:
      normalization: what divides the batch's sum, by T5X's names; see
        `losses.reduction.loss_weights_and_normalizer`. AUTO: a run takes what the state of its
        optimizer was made with (`runs.training.normalization`).
    """

    normalization: LossNormalization = AUTO

    @abc.abstractmethod
    def objective(self, context: ObjectiveContext) -> Objective:
        """Returns what the step minimises.

        Its parameters are the model's; for a `distillation.DistillationObjective`, which learns
        from a teacher, they are a `StudentAndTeacher`.
        """


@dataclass(frozen=True)
class CrossEntropy(LossConfig):
    """Teacher-forced cross-entropy on the target tokens; logits never exist as [B, T, V].

    Attributes:
      label_smoothing: mass taken from the target and spread over the other tokens.
      z_loss: weight of log²Z, which keeps the log-normaliser near zero.
      chunk_tokens: how many tokens' logits exist at a time on a device.
    """

    label_smoothing: float = 0.0
    z_loss: float = 1e-4
    chunk_tokens: int = 512

    def objective(self, context: ObjectiveContext) -> Objective:
        def objective(params: Params, batch: Batch, dropout_rng: jax.Array | None) -> LossOutput:
            weights, normalizer = loss_weights_and_normalizer(
                self.normalization, batch, batch_rows=context.batch_rows
            )
            output = fused.cross_entropy_from_hidden(
                models.hidden_states(params, batch, context.model, dropout_rng=dropout_rng),
                models.unembedding(params, context.model),
                batch["decoder_target_tokens"],
                weights,
                label_smoothing=self.label_smoothing,
                z_loss=self.z_loss,
                chunk_tokens=self.chunk_tokens,
            )
            return output.with_normalizer(normalizer)

        return objective
