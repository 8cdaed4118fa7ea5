"""Writes a run's metrics to `metrics.jsonl`, one object a line, and to TensorBoard's event files.

{"step": 200, "split": "train", "loss": 1.25, "tokens_per_second": 9170.0}
{"step": 200, "split": "eval/word_problems", "accuracy": 0.41}
"""

from __future__ import annotations

import io
import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, SupportsFloat

import jax

from tlm_jax.errors import UserError, system_reason
from tlm_jax.metrics.event_file import EventFile

FILE_NAME = "metrics.jsonl"
EVENTS_FOLDER = "tensorboard"


class MetricsWriter:
    """Appends metrics; does nothing on any process but the first.

    A line reaches the operating system whole and at once, so a killed process loses nothing that
    was written; a line cut short when the machine went down is removed at the next start.
    """

    def __init__(
        self, model_dir: Path | str, *, resumed_step: int | None = None, tensorboard: bool = True
    ):
        """Opens the files, and drops what a run wrote after the checkpoint it now goes on from.

        Args:
          model_dir: where `metrics.jsonl` and the folder `tensorboard` are.
          resumed_step: the step that training goes on from; lines of later steps are removed, for
            these steps come again. None: a new run; all lines are removed.
          tensorboard: whether to write event files too.

        Raises:
          UserError: the files cannot be written.
        """
        self._file: io.TextIOWrapper | None = None
        self._events: EventFile | None = None
        if jax.process_index() != 0:
            return
        self._path = Path(model_dir) / FILE_NAME
        start = 0 if resumed_step is None else resumed_step
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            prune(self._path, -1 if resumed_step is None else resumed_step)
            self._file = self._path.open("a", encoding="utf-8")
        except OSError as error:
            raise UserError(f"{self._path} cannot be written: {system_reason(error)}") from error
        if tensorboard:
            self._events = EventFile(Path(model_dir) / EVENTS_FOLDER, first_step=start + 1)

    def write(self, step: int, split: str, values: Mapping[str, SupportsFloat]) -> None:
        """Writes one line; a value that is not finite is written as null.

        Args:
          step: training steps taken.
          split: `train`, or `eval/TASK`.
          values: by name.

        Raises:
          UserError: the disk is full.
        """
        if self._file is None:
            return
        numbers = {k: v if isinstance(v, int) else float(v) for k, v in values.items()}
        finite = {k: v if math.isfinite(v) else None for k, v in numbers.items()}
        line = json.dumps({"step": step, "split": split, **finite}) + "\n"
        try:
            self._file.write(line)
            self._file.flush()
        except OSError as error:
            raise UserError(
                f"{self._path} cannot be written at step {step}: {system_reason(error)}"
            ) from error
        if self._events is not None:
            self._events.write(step, {f"{split}/{name}": value for name, value in numbers.items()})

    def close(self) -> None:
        """Writes what is waiting, and closes the files."""
        if self._file is not None:
            self._file.close()
            self._file = None
        if self._events is not None:
            self._events.close()
            self._events = None


def read_metrics(path: Path) -> Iterator[dict[str, Any]]:
    """Yields the lines of a `metrics.jsonl` as dicts, without those that are not whole.

    Args:
      path: the file; nothing is yielded if it is absent.
    """
    if not path.exists():
        return
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            try:
                row = json.loads(line)
            except json.JSONDecodeError:
                continue
            if isinstance(row, dict) and isinstance(row.get("step"), int):
                yield row


def prune(path: Path, last_step: int) -> None:
    """Removes the lines of steps after `last_step` and those that are not whole, atomically."""
    if not path.exists():
        return
    kept = "".join(json.dumps(row) + "\n" for row in read_metrics(path) if row["step"] <= last_step)
    if kept.encode() == path.read_bytes():
        return
    partial = path.with_name(path.name + ".partial")
    with partial.open("w", encoding="utf-8") as file:
        file.write(kept)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
