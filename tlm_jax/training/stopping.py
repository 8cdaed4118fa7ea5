"""Lets SIGTERM and Ctrl-C end a run between two steps, with everything saved."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType

import jax
import numpy as np

# Hosts must leave the loop at the same step; agreeing costs a collective, so not at every step.
_AGREEMENT_PERIOD_STEPS = 10


class StopRequest:
    """Context in which SIGTERM and SIGINT ask for a stop; a second one ends the process at once."""

    def __init__(self) -> None:
        self.signal_name: str | None = None
        self._previous: dict[int, object] = {}

    def __enter__(self) -> StopRequest:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # pyright: ignore[reportArgumentType]

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.signal_name is not None:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        self.signal_name = signal.Signals(number).name

    def agreed(self, step: int) -> bool:
        """Returns whether every host should stop after `step`."""
        requested = self.signal_name is not None
        if jax.process_count() == 1:
            return requested
        if step % _AGREEMENT_PERIOD_STEPS:
            return False
        from jax.experimental import multihost_utils

        flags = multihost_utils.process_allgather(np.array(requested))
        return bool(np.any(flags))
