"""Decides which checkpoints a run keeps."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from tlm_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class KeepPolicy:
    """Which checkpoints stay on disk; a checkpoint stays if any of the three rules wants it.

    Attributes:
      last: how many of the newest to keep, at least 1; None keeps all.
      every_steps: also keep every checkpoint whose step is a multiple of this.
      best: also keep this many with the best score (`CheckpointManager.save(..., score=)`).
      higher_is_better: whether a higher score is a better one (accuracy) or a worse one (loss).
    """

    last: int | None = 3
    every_steps: int | None = None
    best: int = 0
    higher_is_better: bool = True

    def __post_init__(self) -> None:
        if self.last is not None and self.last < 1:
            raise UserError(
                f"KeepPolicy.last is {self.last}: at least 1 checkpoint must be kept, "
                "or a stopped run could not go on (None keeps all)"
            )
        if self.every_steps is not None and self.every_steps < 1:
            raise UserError(f"KeepPolicy.every_steps is {self.every_steps}: expected 1 or more")
        if self.best < 0:
            raise UserError(f"KeepPolicy.best is {self.best}: expected 0 or more")

    def superseded(self, scores: Mapping[int, float | None]) -> list[int]:
        """Returns the steps to delete, oldest first.

        Args:
          scores: for each complete checkpoint's step, its score, or None where it has none. Equal
            scores: the newer is the better.
        """
        if self.last is None:
            return []
        steps = sorted(scores)
        kept = set(steps[-self.last :])
        if self.every_steps is not None:
            kept.update(step for step in steps if step % self.every_steps == 0)
        sign = 1.0 if self.higher_is_better else -1.0
        # A NaN is no score: it must not push out a real one.
        ranked = sorted(
            (sign * score, step)
            for step, score in scores.items()
            if score is not None and score == score
        )
        if self.best:
            kept.update(step for _, step in ranked[-self.best :])
        return [step for step in steps if step not in kept]
