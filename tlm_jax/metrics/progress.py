"""Shows how far a run is: a bar with the time left on a terminal, short aligned lines elsewhere."""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, SupportsFloat, TextIO

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress

# Name in `metrics.jsonl`, short name, format of fixed width.
COLUMNS = (
    ("loss", "loss", "{:7.4f}"),
    ("accuracy", "acc", "{:.3f}"),
    ("gradient_norm", "grad", "{:7.3g}"),
    ("learning_rate", "lr", "{:.2e}"),
    ("tokens_per_second", "tok/s", "{:9,.0f}"),
    ("model_flops_utilisation", "MFU", "{:5.1%}"),
    ("data_wait_share", "wait", "{:3.0%}"),
)


class Progress:
    """Reports steps; silent on any process but the first."""

    def __init__(
        self,
        first_step: int,
        total_steps: int,
        *,
        stream: TextIO | io.TextIOBase | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        """Starts at `first_step` of `total_steps`.

        Args:
          first_step: steps taken before this run.
          total_steps: steps when training is done.
          stream: standard output by default; a bar is drawn if it is a terminal.
          clock: seconds, for tests.
        """
        import jax  # not at the top: runs that ask a server use `duration`, and need no JAX

        self._stream = stream if stream is not None else sys.stdout
        self._total, self._first, self._step = total_steps, first_step, first_step
        self._clock = clock
        self._begin: tuple[float, int] | None = None
        self._shown = ""
        self._silent = jax.process_index() != 0
        self._bar: RichProgress | None = None
        if not self._silent and self._stream.isatty():
            self._bar, self._task = _start_bar(self._stream, first_step, total_steps)

    def advance(self, step: int) -> None:
        """Moves the bar; prints nothing elsewhere."""
        self._step = step
        # The first step compiles, so time is counted from its end.
        if self._begin is None:
            self._begin = (self._clock(), step)
        if self._bar is not None:
            self._bar.update(self._task, completed=step, metrics=self._shown, left=self._left())

    def report(self, step: int, metrics: Mapping[str, SupportsFloat]) -> None:
        """Shows metrics by their names in `metrics.jsonl`; those in `COLUMNS` are shown."""
        self.advance(step)
        cells = [
            (short, form.format(float(metrics[n]))) for n, short, form in COLUMNS if n in metrics
        ]
        self._shown = "  ".join(f"{short} {value.strip()}" for short, value in cells)
        if self._bar is not None:
            self._bar.update(self._task, completed=step, metrics=self._shown, left=self._left())
        elif not self._silent:
            width = len(str(self._total))
            padded = "  ".join(f"{short} {value}" for short, value in cells)
            self._print(f"step {step:>{width}}/{self._total}  {padded}  left {self._left()}")

    def line(self, text: str) -> None:
        """Prints a line above the bar, or simply a line."""
        if self._silent:
            return
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False)
        else:
            self._print(text)

    def close(self) -> None:
        """Leaves the bar where it is."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _left(self) -> str:
        if self._begin is None or self._step <= self._begin[1]:
            return "?"
        start, first = self._begin
        seconds = (self._clock() - start) / (self._step - first) * (self._total - self._step)
        return duration(seconds)

    def _print(self, text: str) -> None:
        self._stream.write(text + "\n")
        self._stream.flush()


def duration(seconds: float | int) -> str:
    """Returns a duration as `42s`, `3m05s`, `2h07m` or `3d04h`."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d{whole % 86400 // 3600:02d}h"


def _start_bar(stream: Any, first_step: int, total_steps: int) -> tuple[RichProgress, Any]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
    from rich.progress import Progress as RichProgress

    bar = RichProgress(
        TextColumn("step"),
        MofNCompleteColumn(),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[left]} left"),
        TextColumn("[dim]{task.fields[metrics]}"),
        console=Console(file=stream),
        refresh_per_second=4,
    )
    bar.start()
    return bar, bar.add_task("", total=total_steps, completed=first_step, metrics="", left="?")
