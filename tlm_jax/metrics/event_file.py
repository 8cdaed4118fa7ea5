"""Writes scalars for TensorBoard in the background, without importing TensorFlow."""

from __future__ import annotations

import os
import queue
import socket
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from tlm_jax.errors import UserError, system_reason

_Item = tuple[float, int, Mapping[str, float]]


class EventFile:
    """One TensorBoard event file.

    A thread imports the `tensorboard` package (0.2 to 0.7 s) and writes, so that training waits for
    neither. TensorBoard's own `EventFileWriter` is not used, for it imports TensorFlow when that is
    installed.
    """

    def __init__(self, folder: Path, *, first_step: int):
        """Starts a file in `folder`.

        Args:
          folder: made if absent; TensorBoard's `--logdir`.
          first_step: what earlier files say about this step and later ones is void.
        """
        self._path = folder / (
            f"events.out.tfevents.{int(time.time()):010d}.{socket.gethostname()}"
            f".{os.getpid()}.{time.monotonic_ns()}"
        )
        self._first_step = first_step
        self._queue: queue.SimpleQueue[_Item | None] = queue.SimpleQueue()
        self._failure: OSError | None = None
        self._thread = threading.Thread(target=self._run, name="tensorboard", daemon=True)
        self._thread.start()

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Hands over scalars by tag; returns at once.

        Raises:
          UserError: what was handed over before could not be written.
        """
        self._check()
        self._queue.put((time.time(), step, dict(values)))

    def close(self) -> None:
        """Returns when everything is written.

        Raises:
          UserError: as `write`.
        """
        self._queue.put(None)
        self._thread.join()
        self._check()

    def _check(self) -> None:
        if self._failure is not None:
            raise UserError(f"{self._path} cannot be written: {system_reason(self._failure)}")

    def _run(self) -> None:
        # Nothing is imported or made before there is something to write.
        item = self._queue.get()
        if item is None:
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("wb") as file:
                self._drain(file, item)
        except OSError as error:
            self._failure = error

    def _drain(self, file: BinaryIO, item: _Item | None) -> None:
        from tensorboard.summary.writer.record_writer import RecordWriter

        event, summary = _protocol_buffers()
        records = RecordWriter(file)

        def write(**fields: Any) -> None:
            records.write(event.Event(**fields).SerializeToString())

        start = event.SessionLog(status=event.SessionLog.START)
        write(wall_time=time.time(), file_version="brain.Event:2")
        write(wall_time=time.time(), step=self._first_step, session_log=start)
        while item is not None:
            wall_time, step, values = item
            scalars = [
                summary.Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()
            ]
            write(wall_time=wall_time, step=step, summary=summary.Summary(value=scalars))
            if self._queue.empty():
                records.flush()
            item = self._queue.get()
        records.flush()


def _protocol_buffers() -> tuple[Any, Any]:
    """Returns the generated modules, whose classes a type checker cannot see."""
    from tensorboard.compat.proto import event_pb2, summary_pb2

    return event_pb2, summary_pb2
