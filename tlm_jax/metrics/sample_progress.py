"""Shows how far generation is: a bar on a terminal, now and then a line elsewhere."""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Callable
from typing import Any, TextIO

from tlm_jax.metrics.progress import duration

_LINE_SECONDS = 10.0


class SampleProgress:
    """Reports samples and tokens; a context manager, so that the bar is closed whatever happens."""

    def __init__(
        self,
        total: int,
        *,
        done: int = 0,
        stream: TextIO | io.TextIOBase | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        """Starts the clock.

        Args:
          total: samples wanted.
          done: samples that were there before; they count in no rate.
          stream: standard output by default; a bar is drawn if it is a terminal.
          clock: seconds, for tests.
        """
        self._stream = stream if stream is not None else sys.stdout
        self._clock = clock
        self._total, self._before, self._done, self._tokens = total, done, done, 0
        self._began = self._last_line = clock()
        self._bar: Any = None

    def __enter__(self) -> SampleProgress:
        if self._stream.isatty():
            self._bar = _bar(self._stream)
            self._task = self._bar.add_task("", total=self._total, completed=self._done, text="")
            self._bar.start()
        return self

    def __exit__(self, *unused: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def advance(self, tokens: int) -> None:
        """Counts one more sample of so many tokens."""
        self._done += 1
        self._tokens += tokens
        if self._bar is not None:
            self._bar.update(self._task, completed=self._done, text=self._shown())
        elif self._clock() - self._last_line >= _LINE_SECONDS:
            self._last_line = self._clock()
            self.line(f"{self._done:,} of {self._total:,} samples, {self._shown()}")

    def line(self, text: str) -> None:
        """Prints a line above the bar, or simply a line."""
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False)
        else:
            self._stream.write(text + "\n")
            self._stream.flush()

    def rates(self) -> str:
        """Returns samples/s and tokens/s since the start, in words."""
        seconds = self._seconds()
        samples = (self._done - self._before) / seconds
        return f"{samples:,.2f} samples/s, {self._tokens / seconds:,.1f} tokens/s"

    def _shown(self) -> str:
        """Returns the rates and the time left."""
        new = self._done - self._before
        left = duration((self._total - self._done) * self._seconds() / new) if new else "?"
        return f"{self.rates()}, {left} left"

    def _seconds(self) -> float:
        return max(self._clock() - self._began, 1e-9)


def _bar(stream: Any) -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    return Progress(
        MofNCompleteColumn(),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[text]}"),
        console=Console(file=stream),
        refresh_per_second=4,
    )
