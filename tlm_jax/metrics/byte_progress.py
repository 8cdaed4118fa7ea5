"""Shows how far a long copy is, in bytes: a bar on a terminal, now and then a line elsewhere."""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Callable
from typing import Any, TextIO

from tlm_jax.metrics.progress import duration

_LINE_SECONDS = 10.0


class ByteProgress:
    """Reports bytes; a context manager, so that the bar is closed whatever happens."""

    def __init__(
        self,
        *,
        stream: TextIO | io.TextIOBase | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        """Starts the clock.

        Args:
          stream: standard output by default; a bar is drawn if it is a terminal.
          clock: seconds, for tests.
        """
        self._stream = stream if stream is not None else sys.stdout
        self._clock = clock
        self._began = self._last_line = clock()
        self._bar: Any = None

    def __enter__(self) -> ByteProgress:
        if self._stream.isatty():
            self._bar = _bar(self._stream)
            self._task = self._bar.add_task("", total=None)
            self._bar.start()
        return self

    def __exit__(self, *unused: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def update(self, done: int, total: int) -> None:
        """Shows `done` of `total` bytes."""
        if self._bar is not None:
            self._bar.update(self._task, completed=done, total=total)
            return
        now = self._clock()
        if now - self._last_line < _LINE_SECONDS and done < total:
            return
        self._last_line = now
        rate = done / max(now - self._began, 1e-9)
        left = duration((total - done) / rate) if rate else "?"
        self._stream.write(
            f"{done / 1e9:,.2f} of {total / 1e9:,.2f} GB, {rate / 1e6:,.0f} MB/s, {left} left\n"
        )
        self._stream.flush()


def _bar(stream: Any) -> Any:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    return Progress(
        DownloadColumn(),
        BarColumn(bar_width=24),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=Console(file=stream),
        refresh_per_second=4,
    )
