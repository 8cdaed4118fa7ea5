"""Identifies the live teacher that a run learns from, for the checkpoints of the run."""

from __future__ import annotations

import dataclasses

from tlm_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class TeacherModel:
    """What a checkpoint says of the model that its run learnt from.

    Attributes:
      origin: where it came from, for people.
      fingerprint: of its content (`checkpoints.fingerprint`).
    """

    origin: str
    fingerprint: str


def check_same_teacher(
    saved: TeacherModel | None, wanted: TeacherModel | None, *, where: str
) -> None:
    """Checks that a run goes on with the live teacher that it had.

    Passed where either is None: a checkpoint of an earlier version does not say, and a run that
    has no live teacher any more, or has one now, says so in its configuration.

    Raises:
      UserError: they are two models.
    """
    if saved is None or wanted is None or saved.fingerprint == wanted.fingerprint:
        return
    raise UserError(
        f"{where} learnt from the live teacher {saved.origin} (fingerprint {saved.fingerprint}), "
        f"but this run's, {wanted.origin}, is another model (fingerprint {wanted.fingerprint}). "
        "Set TEACHER_PATH to the former, or take the checkpoint as INITIAL_CHECKPOINT_PATH of "
        "another MODEL_DIR."
    )
