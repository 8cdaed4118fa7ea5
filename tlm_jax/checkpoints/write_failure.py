"""Explains in one line why files could not be written or read, and what is safe."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

from tlm_jax.checkpoints.choice import first_line
from tlm_jax.errors import UserError, system_reason

_FULL = {errno.ENOSPC: "no space left on the disk", errno.EDQUOT: "the disk quota is used up"}
_FULL[errno.EFBIG] = "a file would be larger than this process may write"
# TensorStore reports the system's error as text.
_TEXTS = {
    "No space left on device": errno.ENOSPC,
    "Disk quota exceeded": errno.EDQUOT,
    "File too large": errno.EFBIG,
}


def not_written(step: int, directory: Path, last: int | None, error: Exception) -> UserError:
    """Returns the error to raise for a failed save.

    Args:
      step: the step that was to be saved.
      directory: where the checkpoints lie; what the save had written is removed already.
      last: the newest complete checkpoint.
      error: what Orbax or the system raised.
    """
    intact = (
        f"Checkpoint {last} is intact: run again to go on from it."
        if last is not None
        else "There is no earlier checkpoint."
    )
    full = full_disk(error)
    if full is None:
        reason, remedy = first_line(error), ""
    else:
        free_mb = shutil.disk_usage(directory).free / 1e6
        reason = f"{full} ({free_mb:,.0f} MB free, without the unfinished files)"
        remedy = "Make room first. "
    return UserError(
        f"checkpoint {step} was not written to {directory}: {reason}. {remedy}{intact}"
    )


def full_disk(error: BaseException | None) -> str | None:
    """Returns in words that the disk is full, if that is among the error's causes."""
    while error is not None:
        number = getattr(error, "errno", None)
        if number in _FULL:
            return _FULL[number]
        for text, number in _TEXTS.items():
            if text in str(error):
                return _FULL[number]
        error = error.__cause__ or error.__context__
    return None


def reason_and_file(error: OSError) -> str:
    """Returns in one line what the system says, with the file where it names one."""
    reason = system_reason(error)
    return f"{reason}: {error.filename}" if error.filename else reason
