"""Settles what divides a run's loss, because an optimizer's state fits gradients of one scale.

The second moments of a sum over n tokens are n² times those of a mean: an optimizer that meets the
other kind all but stops, or leaps.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from tlm_jax.checkpoints.choice import complete_steps, read_manifest
from tlm_jax.checkpoints.manifest import Damaged
from tlm_jax.checkpoints.pretrained import open_pretrained
from tlm_jax.checkpoints.processes import gather
from tlm_jax.errors import UserError
from tlm_jax.losses.reduction import AUTO, NONE, REAL_TOKENS, canonical_normalization
from tlm_jax.runs.training import console
from tlm_jax.runs.training.config import RunConfig


def with_settled_normalization(run: RunConfig) -> RunConfig:
    """Returns the run with a `loss.normalization` that is not AUTO, in one spelling.

    1. What the newest checkpoint of MODEL_DIR was trained with.
    2. What is set.
    3. With RESTORE_OPTIMIZER, what the initial checkpoint's state was made with; T5X's do not say,
       and its default is a sum.
    4. The mean over tokens.

    Raises:
      UserError: 1 and 2 differ.
    """
    wanted = canonical_normalization(run.loss.normalization)
    steps, recorded = _of_checkpoints(Path(run.model_dir, "checkpoints"))
    if recorded is not None:
        if wanted not in (AUTO, recorded):
            raise UserError(
                f"the checkpoints in {run.model_dir} were trained with the loss divided by "
                f"{recorded} and this run divides it by {wanted}, so that its gradients have "
                "another scale than the optimizer's state: leave LOSS_NORMALIZING_FACTOR out, or "
                "take them as INITIAL_CHECKPOINT_PATH of another MODEL_DIR"
            )
        wanted = recorded
    elif wanted == AUTO and run.restore_optimizer and not steps:
        wanted = _of_initial_checkpoint(run)
    elif wanted == AUTO:
        # Also where checkpoints of an earlier version do not tell: it was that one's default.
        wanted = REAL_TOKENS
    return dataclasses.replace(run, loss=dataclasses.replace(run.loss, normalization=wanted))


def _of_checkpoints(directory: Path) -> tuple[list[int], str | float | None]:
    """Returns the steps of a run's checkpoints, and what the newest sound manifest tells."""
    steps = gather(complete_steps(directory))[0]
    for step in reversed(steps):
        try:
            return steps, read_manifest(directory / str(step)).loss_normalization
        except Damaged:
            continue
    return steps, None


def _of_initial_checkpoint(run: RunConfig) -> str | float:
    assert run.initial_checkpoint_path is not None
    recorded = open_pretrained(run.initial_checkpoint_path).loss_normalization
    if recorded is not None:
        return recorded
    console.say(
        f"note: gradients are of a sum over tokens, T5X's default, as it is taken that the "
        f"optimizer's state in {run.initial_checkpoint_path} was made; if it was not, set "
        "LOSS_NORMALIZING_FACTOR to what it was"
    )
    return NONE
