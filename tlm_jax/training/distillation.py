"""The distillation objective: a student against a cached or a live teacher."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax

from tlm_jax import models
from tlm_jax.losses import fused
from tlm_jax.losses.distillation import Distillation, effective_weights
from tlm_jax.losses.matching import Attention, HiddenStates
from tlm_jax.losses.reduction import LossOutput, WeightedSum, loss_weights_and_normalizer
from tlm_jax.training.objectives import LossConfig, ObjectiveContext
from tlm_jax.training.step import Objective
from tlm_jax.training.step_teacher import live_teacher, teacher_of_batch
from tlm_jax.types import Batch, Params


class StudentAndTeacher(NamedTuple):
    """The parameters that a distillation objective is given.

    Attributes:
      student: its parameters; gradients are taken of these alone.
      teacher: what the teacher needs on the devices: nothing (None) for cached candidates, an
        `Unembedding` for cached hidden states, a `LiveArrays` for a live teacher.
      projections: of the matching of inner states, as `InnerMatching.init` makes them; they have
        gradients as the student does. None without matching.
    """

    student: Params
    teacher: Any
    projections: Any = None


@dataclass(frozen=True)
class DistillationObjective(LossConfig):
    """What a student is trained by, beside a teacher; logits never exist as [B, T, V].

    Another loss that learns from a teacher extends this one: a run opens the teacher of any of
    them, and refuses settings of `distillation` that the teacher cannot honour.

    Attributes:
      distillation: the divergence, on what part of the vocabulary, and its share of the loss.
      chunk_tokens: how many tokens' logits exist at a time on a device.
      matching: inner states of a live teacher that the student's are to resemble, too; each adds
        its weight times its own mean.
    """

    distillation: Distillation = field(default_factory=Distillation)
    chunk_tokens: int = 256
    matching: Sequence[HiddenStates | Attention] = ()

    def objective(self, context: ObjectiveContext) -> Objective:
        """Returns the objective of a `StudentAndTeacher`.

        The teacher's part takes no gradient and no dropout.
        """
        config, live, matching = context.model, context.live, context.matching
        assert live is not None or matching is None, "cached teachers have no inner states"
        ask = teacher_of_batch
        if live is not None:
            ask = live_teacher(
                config,
                live,
                chunk_tokens=self.chunk_tokens,
                temperature=self.distillation.temperature,
                matching=matching,
            )
        keeps = models.Keeps() if matching is None else matching.student_keeps()

        def objective(
            params: StudentAndTeacher, batch: Batch, dropout_rng: jax.Array | None
        ) -> LossOutput:
            teacher, teacher_inner = ask(jax.lax.stop_gradient(params.teacher), batch)
            inner = models.layer_states(
                params.student, batch, config, keeps, dropout_rng=dropout_rng
            )
            weights, _ = loss_weights_and_normalizer(None, batch)
            counted = {
                **batch,
                "decoder_loss_weights": effective_weights(weights, teacher, self.distillation),
            }
            weights, normalizer = loss_weights_and_normalizer(
                self.normalization, counted, batch_rows=context.batch_rows
            )
            output = fused.distillation_from_hidden(
                inner.last,
                models.unembedding(params.student, config),
                batch["decoder_target_tokens"],
                weights,
                teacher,
                self.distillation,
                chunk_tokens=self.chunk_tokens,
            )
            output = output.with_normalizer(normalizer)
            if matching is None or teacher_inner is None:
                return output
            matched = matching.loss(params.projections, inner, teacher_inner, batch)
            # The weights of `weigh` make the normalizer of both the same.
            return LossOutput(
                WeightedSum(output.loss.total + matched.loss.total, normalizer),
                output.metrics | matched.metrics,
            )

        return objective
