"""Lets SIGTERM and Ctrl-C end a run between two steps, with everything saved."""

from __future__ import annotations

import contextlib
import os
import signal

import jax
import numpy as np

from tlm_jax.system import interruption

# Hosts must leave the loop at the same step; agreeing costs a collective, so not at every step.
_AGREEMENT_PERIOD_STEPS = 10


class StopRequest:
    """Context in which SIGTERM and SIGINT ask for a stop; a second one ends the process at once.

    Attributes:
      number: the signal that stops the run, of whichever host has met it; None for none.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self._watching = contextlib.ExitStack()

    def __enter__(self) -> StopRequest:
        self._watching.enter_context(interruption.watched(self._take))
        return self

    def __exit__(self, *unused: object) -> None:
        self._watching.close()

    def _take(self, number: int) -> None:
        if self.number is not None:
            interruption.end(number)
        self.number = number
        # An evaluation or a save under way may take minutes; that this one is not lost is told now.
        line = f"{signal.Signals(number).name}: saving after this step; a second one ends at once\n"
        with contextlib.suppress(OSError):
            os.write(2, line.encode())

    def agreed(self, step: int) -> bool:
        """Returns whether every host should stop after `step`."""
        if jax.process_count() == 1:
            return self.number is not None
        if step % _AGREEMENT_PERIOD_STEPS:
            return False
        from jax.experimental import multihost_utils

        numbers = multihost_utils.process_allgather(np.array(self.number or 0))
        # Not what has come meanwhile: the other hosts do not know of it yet.
        number = int(np.max(numbers))
        self.number = number or self.number
        return number > 0
