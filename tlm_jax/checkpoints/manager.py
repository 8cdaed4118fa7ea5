"""Saves training asynchronously, and restores the newest checkpoint that is whole.

300/                  a complete checkpoint, named by its step
  state/              parameters, optimizer, step and random numbers (Orbax)
  data/  metrics/     the data position; metrics in flight (JSON)
  manifest.json       files with sizes and checksums, arrays with shapes
"""

from __future__ import annotations

import dataclasses
import os
import threading
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tlm_jax.checkpoints import manifest, orbax_files
from tlm_jax.checkpoints.base_model import BaseModel, check_same_base
from tlm_jax.checkpoints.choice import check_files, newest_whole, print_line, read_manifest
from tlm_jax.checkpoints.directory import CheckpointDirectory
from tlm_jax.checkpoints.keep import KeepPolicy
from tlm_jax.checkpoints.live_teacher import TeacherModel, check_same_teacher
from tlm_jax.checkpoints.lock import lock_directory
from tlm_jax.checkpoints.processes import gather, is_primary
from tlm_jax.checkpoints.structure import array_specs, check_same
from tlm_jax.checkpoints.write_failure import not_written
from tlm_jax.errors import UserError, system_reason

_OTHER_MODEL = (
    "Train with the configuration that made it (config.gin beside the checkpoints), "
    "or choose another MODEL_DIR."
)


@dataclasses.dataclass(frozen=True)
class Items:
    """What a checkpoint holds.

    Attributes:
      state: a pytree of arrays, sharded or not, with the parameters in a field `params`.
      data: the data pipeline's position; small, JSON-able and the same on every process.
      metrics: what is being accumulated between two reports; small and JSON-able.
    """

    state: Any
    data: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    metrics: Mapping[str, Any] = dataclasses.field(default_factory=dict)


class CheckpointManager:
    """The checkpoints of one run. Only one run at a time may use a directory.

    With several processes, all of them make the same calls in the same order, and `directory` is
    on a file system that they share.
    """

    def __init__(
        self,
        directory: Path | str,
        *,
        keep: KeepPolicy | None = None,
        checksums: bool = True,
        base: BaseModel | None = None,
        loss_normalization: str | float | None = None,
        teacher: TeacherModel | None = None,
        announce: Callable[[str], None] = print_line,
    ):
        """Opens `directory` for writing, and clears what an interrupted run left half done.

        Args:
          directory: MODEL_DIR/checkpoints; made if absent.
          keep: which checkpoints to keep.
          checksums: whether to record a CRC-32 of every file when saving (in the background), and
            to compare it when restoring. Sizes are recorded and compared always.
          base: the frozen model that the saved parameters are adapters of, if they are.
          loss_normalization: what divides the loss of the run, for those who go on from its state.
          teacher: the live teacher that the run learns from, if it has one.
          announce: is given one line when a checkpoint had to be passed over.

        Raises:
          UserError: `directory` is an object-store address, cannot be written, or is in use by
            another process.
        """
        if "://" in str(directory):
            raise UserError(
                f"{directory} is an object-store address; checkpoints need a file system: "
                "mount the bucket (for example with gcsfuse) and give the mounted path"
            )
        self._disk = CheckpointDirectory(Path(directory))
        self._keep = keep or KeepPolicy()
        self._checksums = checksums
        self._base = base
        self._loss_normalization = loss_normalization
        self._teacher = teacher
        self._announce = announce
        self._writer: Any = None
        self._thread: threading.Thread | None = None
        self._failure: UserError | None = None
        self._last_saved: int | None = None
        self._unlock: Callable[[], object] | None = None
        if is_primary():
            try:
                self.directory.mkdir(parents=True, exist_ok=True)
                # Closed, and so unlocked, when this object goes.
                self._unlock = weakref.finalize(self, os.close, lock_directory(self.directory))
                self._disk.remove_leftovers()
            except OSError as error:
                raise UserError(
                    f"checkpoint directory {self.directory} cannot be used: {system_reason(error)}"
                ) from error
        gather(None)

    @property
    def directory(self) -> Path:
        """Where the checkpoints lie."""
        return self._disk.path

    def save(self, step: int, items: Items, *, score: float | None = None) -> None:
        """Starts saving; returns once the state is off the devices, so that it may be donated.

        The rest happens in the background: writing, sealing, and deleting what `keep` gives up.
        Waits for the previous save first. A step that this manager has just saved is not saved
        again.

        Args:
          step: training steps taken.
          items: what to save.
          score: what `KeepPolicy.best` ranks by.

        Raises:
          UserError: this or the previous save could not be written (a full disk, permissions);
            earlier checkpoints are intact.
        """
        self._join()
        if step == self._last_saved:
            return
        if self._writer is None:
            self._writer = orbax_files.checkpointer()
        arrays = array_specs(items.state)
        try:
            orbax_files.start_save(
                self._writer, self._disk.saving(step), items.state, items.data, items.metrics
            )
        except Exception as error:
            raise self._failed(step, error) from error
        self._last_saved = step
        self._thread = threading.Thread(
            target=self._finish, args=(step, arrays, score), name="checkpoint"
        )
        self._thread.start()

    def restore(self, abstract: Any, step: int | None = None) -> tuple[int, Items] | None:
        """Returns the newest whole checkpoint and its step, or None if nothing was ever saved.

        A damaged checkpoint is announced and passed over; once an older one has been restored, it
        is moved to STEP.damaged.

        Args:
          abstract: the state's structure, as arrays or `ShapeDtypeStruct`s with the shardings
            wanted now; any mesh will do. Leaves without a sharding come back as NumPy arrays.
          step: restore this one or fail.

        Raises:
          UserError: the checkpoint is from a different model or teacher; or `step` is not there or
            damaged; or there are checkpoints and all are damaged. Never starts over in silence.
        """
        self.wait()
        steps = gather(self._disk.steps())[0]
        if step is not None and step not in steps:
            raise UserError(f"no checkpoint of step {step} in {self.directory}; it has {steps}")
        if not steps:
            self._refuse_only_damaged()
            return None
        restored = newest_whole(
            self.directory,
            steps if step is None else [step],
            lambda path: self._restore_one(path, abstract),
        )
        self._set_aside(restored.problems, restored.step)
        self._last_saved = restored.step
        return restored.step, restored.value

    def latest_step(self) -> int | None:
        """Returns the step of the newest complete checkpoint; its files are not checked."""
        return max(self._disk.steps(), default=None)

    def all_steps(self) -> list[int]:
        """Returns the steps of all complete checkpoints, oldest first."""
        return self._disk.steps()

    def wait(self) -> None:
        """Returns when nothing is being saved any more.

        Raises:
          UserError: as `save`.
        """
        self._join()
        gather(None)

    def close(self) -> None:
        """Waits, releases Orbax's threads, and lets other processes use the directory."""
        self.wait()
        self.release()

    def release(self) -> None:
        """As `close`, but waits for nobody; what is still being saved keeps the directory."""
        if self._thread is not None and self._thread.is_alive():
            return
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        if self._unlock is not None:
            self._unlock()

    def _finish(
        self, step: int, arrays: Mapping[str, manifest.ArraySpec], score: float | None
    ) -> None:
        """Completes a save, in the background."""
        try:
            self._writer.wait_until_finished()
            if is_primary():
                manifest.seal(
                    self._disk.saving(step),
                    step,
                    arrays,
                    score=score,
                    checksums=self._checksums,
                    base=None if self._base is None else dataclasses.asdict(self._base),
                    loss_normalization=self._loss_normalization,
                    teacher=None if self._teacher is None else dataclasses.asdict(self._teacher),
                )
                self._disk.complete(step)
                self._disk.delete_superseded(self._keep)
        except UserError as error:
            self._failure = error
        except Exception as error:
            self._failure = self._failed(step, error)
            self._failure.__cause__ = error

    def _join(self) -> None:
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def _restore_one(self, path: Path, abstract: Any) -> Items:
        found = read_manifest(path)
        saved_base = None if found.base is None else BaseModel(**found.base)
        check_same_base(saved_base, self._base, where=f"checkpoint {path}")
        saved_teacher = None if found.teacher is None else TeacherModel(**found.teacher)
        check_same_teacher(saved_teacher, self._teacher, where=f"checkpoint {path}")
        check_same(
            found.arrays,
            array_specs(abstract),
            where=f"checkpoint {path}",
            remedy=_OTHER_MODEL,
            same_types=True,
        )
        check_files(path, found, contents=self._checksums)
        data, metrics = orbax_files.read_dicts(path)
        return Items(orbax_files.read_arrays(path, abstract), data, metrics)

    def _refuse_only_damaged(self) -> None:
        damaged = gather(self._disk.damaged())[0]
        if damaged:
            raise UserError(
                f"{self.directory} holds only damaged checkpoints ({', '.join(damaged)}): mend one "
                "and give it back its number, or move the directory away to start over"
            )

    def _set_aside(self, problems: Mapping[int, str], restored: int) -> None:
        for step, problem in problems.items():
            if is_primary():
                moved = self._disk.set_aside(step)
                self._announce(
                    f"checkpoint {step} is damaged: {problem}; going on from checkpoint "
                    f"{restored} (the damaged one is now {moved})"
                )
        gather(None)

    def _failed(self, step: int, error: Exception) -> UserError:
        """Explains a failed save, after freeing what it had written."""
        self._disk.remove_unfinished(step)
        if self._last_saved == step:
            self._last_saved = None
        return not_written(step, self.directory, self.latest_step(), error)
