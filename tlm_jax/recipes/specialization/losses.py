"""Losses by name: what a student learns from a teacher's solutions."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal

from tlm_jax.data.teachers.join import TeacherJoin
from tlm_jax.losses.distillation import Distillation
from tlm_jax.training.distillation import DistillationObjective
from tlm_jax.training.objectives import CrossEntropy, LossConfig

Alignment = Literal["offsets", "dtw"]


@dataclasses.dataclass(frozen=True)
class Loss:
    """A loss of the method.

    Attributes:
      distributions: whether the teacher's distributions are learned, not its tokens alone.
      official: as the published code computes it: aligned by `dtw`, candidates that the student
        lacks dropped and the others not scaled, KL over the candidates alone.
    """

    distributions: bool
    official: bool = False

    def join(self, caches: Sequence[str], alignment: Alignment) -> TeacherJoin | None:
        """Returns how solutions get the teacher's distributions; None where they need none."""
        if not self.distributions:
            return None
        if self.official:
            return TeacherJoin(caches, alignment="dtw", lost_mass="unnormalized", hard="one_hot")
        return TeacherJoin(caches, alignment=alignment)

    def config(self, like: LossConfig) -> LossConfig:
        """Returns the loss's settings, with the cross-entropy's of a training run."""
        smoothing = like.label_smoothing if isinstance(like, CrossEntropy) else 0.0
        z_loss = like.z_loss if isinstance(like, CrossEntropy) else 0.0
        if not self.distributions:
            return CrossEntropy(
                normalization=like.normalization, label_smoothing=smoothing, z_loss=z_loss
            )
        support = "unnormalized" if self.official else "tail"
        settings = Distillation(support=support, label_smoothing=smoothing, z_loss=z_loss)
        return DistillationObjective(normalization=like.normalization, distillation=settings)


LOSSES = {
    "match_sample": Loss(distributions=False),
    "match_distribution": Loss(distributions=True),
    "match_distribution_official": Loss(distributions=True, official=True),
}
"""Answers without a solution are learned by cross-entropy in all of them, as published."""
