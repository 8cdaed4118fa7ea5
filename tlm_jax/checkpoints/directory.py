"""The names of a run's checkpoints on disk: which are complete, unfinished, damaged, superseded.

    DIRECTORY/
      300/                    a complete checkpoint, named by its step
      400.saving/             being written; never read, removed at the next start
      200.damaged/            failed its check and was passed over; yours to look at or delete

A checkpoint gets its number by one rename, after every file and then the manifest is on disk, so
a process killed at any moment leaves either a whole checkpoint or none.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import time
from pathlib import Path

from tlm_jax.checkpoints import manifest
from tlm_jax.checkpoints.choice import complete_steps
from tlm_jax.checkpoints.keep import KeepPolicy
from tlm_jax.checkpoints.manifest import Damaged
from tlm_jax.errors import UserError, system_reason

SAVING, DELETING, DAMAGED = ".saving", ".deleting", ".damaged"
# Orbax adds to the name of what it writes.
_LEFTOVER = re.compile(rf"[0-9]+({re.escape(SAVING)}|{re.escape(DELETING)})\b.*")
_REMOVAL_TRIES, _REMOVAL_PAUSE_SECONDS = 20, 0.05


class CheckpointDirectory:
    """Where one run's checkpoints lie; only one process changes anything in it."""

    def __init__(self, path: Path):
        self.path = path

    def checkpoint(self, step: int) -> Path:
        """Returns where a complete checkpoint lies."""
        return self.path / str(step)

    def saving(self, step: int) -> Path:
        """Returns where a checkpoint is written before it is complete."""
        return self.path / f"{step}{SAVING}"

    def steps(self) -> list[int]:
        """Returns the steps of all complete checkpoints, oldest first; files are not checked."""
        return complete_steps(self.path)

    def complete(self, step: int) -> None:
        """Gives a checkpoint that has been written and sealed its number."""
        if os.path.lexists(self.checkpoint(step)):
            self.delete(step)
        self.saving(step).rename(self.checkpoint(step))
        manifest.sync_directory(self.path)

    def set_aside(self, step: int) -> Path:
        """Takes its number from a damaged checkpoint, and returns where it lies now."""
        moved = self.path / f"{step}{DAMAGED}"
        if os.path.lexists(moved):
            _remove(moved)
        self.checkpoint(step).rename(moved)
        return moved

    def damaged(self) -> list[str]:
        """Returns the names of checkpoints that were set aside."""
        return sorted(path.name for path in self.path.glob(f"*{DAMAGED}"))

    def delete(self, step: int) -> None:
        """Deletes a checkpoint, which loses its number before its files.

        Half a checkpoint must not look like one.
        """
        doomed = self.path / f"{step}{DELETING}"
        self.checkpoint(step).rename(doomed)
        _remove(doomed)

    def delete_superseded(self, keep: KeepPolicy) -> None:
        """Deletes the checkpoints that a policy does not keep.

        Raises:
          UserError: one cannot be deleted.
        """
        for step in keep.superseded(self._scores()):
            try:
                self.delete(step)
            except OSError as error:
                raise UserError(
                    f"checkpoint {self.checkpoint(step)} cannot be deleted to make room for newer "
                    f"ones: {system_reason(error)}"
                ) from error

    def remove_leftovers(self) -> None:
        """Removes what an interrupted run left half written or half deleted; only that."""
        for path in self.path.iterdir():
            if _LEFTOVER.fullmatch(path.name):
                _remove(path)

    def remove_unfinished(self, step: int) -> None:
        """Frees what a failed save had written.

        Writes of other arrays may still be under way and add files while these are removed; what
        stays in spite of the tries goes at the next start.
        """
        for _ in range(_REMOVAL_TRIES):
            unfinished = list(self.path.glob(f"{step}{SAVING}*"))
            if not unfinished:
                break
            for path in unfinished:
                shutil.rmtree(path, ignore_errors=True)
            time.sleep(_REMOVAL_PAUSE_SECONDS)

    def _scores(self) -> dict[int, float | None]:
        scores: dict[int, float | None] = {}
        for step in self.steps():
            # A damaged one has no score, but is counted: it is looked at when restoring.
            scores[step] = None
            with contextlib.suppress(Damaged):
                scores[step] = manifest.read(self.checkpoint(step)).score
        return scores


def _remove(path: Path) -> None:
    """Removes a directory or file; of a symbolic link the link alone, for its aim is not ours."""
    if path.is_symlink() or not path.is_dir():
        path.unlink()
    else:
        shutil.rmtree(path)
