"""The ledger of free slots for generated tokens: all rows write the same slot at each step."""

from __future__ import annotations

import numpy as np

FEWEST_SLOTS = 64


class Ledger:
    """Remembers at which step each slot was last written.

    A slot may be written again when every sample that still runs began after that, or when the
    model's window has passed it.

    Args:
      window: how many tokens back the model looks, its own included; None means all.
    """

    def __init__(self, window: int | None = None):
        self._window = window
        self.step = 0
        self.restart()

    @property
    def slots(self) -> int:
        """How many there are."""
        return len(self._written)

    def restart(self) -> None:
        """Forgets all slots; there are few again."""
        self._written = np.full(FEWEST_SLOTS, -1)
        self._next = 0

    def claim(self, wanted: int, oldest: int) -> tuple[int, int]:
        """Finds neighbouring free slots. Where there are none, the slots become twice as many.

        Args:
          wanted: at least 1.
          oldest: the step before which none of the running samples began.

        Returns:
          The first slot, and how many from there, at most `wanted`.
        """
        blocked, narrow = self._written >= oldest, False
        if self._window is not None:
            # Later steps of this claim see less far back still.
            blocked &= self._written > self.step - self._window
            # A ring that is just as wide would have one free slot at a time.
            narrow = self.slots < self._window + wanted and self.slots - blocked.sum() < wanted
        if blocked.all() or narrow:
            self._next = self.slots
            self._written = np.concatenate([self._written, np.full(self.slots, -1)])
            blocked = np.concatenate([blocked, np.zeros(self._next, bool)])
        ahead = np.roll(blocked, -self._next)
        first = (self._next + int(np.argmin(ahead))) % self.slots
        taken = np.flatnonzero(blocked[first:])
        free = int(taken[0]) if taken.size else self.slots - first
        return first, min(wanted, free)

    def used(self, first: int, number: int) -> None:
        """Records that the next `number` steps wrote the slots from `first`."""
        self._written[first : first + number] = self.step + np.arange(number)
        self.step += number
        self._next = (first + number) % self.slots
