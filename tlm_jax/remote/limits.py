"""Holds requests back to what a server allows a minute."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

_BURST_SECONDS = 2.0
"""What may be spent at once, as seconds of the rate: a full minute would let two pass in one."""


class RateLimit:
    """At most so many units a minute, shared by threads.

    Spending may run into debt, so that one request larger than the burst is not stuck forever;
    whoever comes next waits until the debt is paid.
    """

    def __init__(
        self,
        per_minute: float | None,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ):
        """Starts with the burst unspent; None is no limit."""
        self._rate = None if per_minute is None else per_minute / 60
        self._clock, self._sleep = clock, sleep
        self._lock = threading.Lock()
        self._free = self._burst = max(1.0, (self._rate or 0.0) * _BURST_SECONDS)
        self._at = clock()
        self._closed_until = self._at

    def acquire(self, amount: float = 1.0) -> None:
        """Waits until `amount` may be spent, and spends it."""
        while (wait := self._try(amount)) > 0:
            self._sleep(wait)

    def settle(self, amount: float) -> None:
        """Spends (or, negative, gives back) what a request took beyond its estimate."""
        with self._lock:
            self._refill()
            self._free = min(self._burst, self._free - amount)

    def pause(self, seconds: float) -> None:
        """Lets nobody through for a while: the server said so."""
        with self._lock:
            self._closed_until = max(self._closed_until, self._clock() + seconds)

    def _try(self, amount: float) -> float:
        """Returns 0 when the amount is spent, else the seconds to wait before asking again."""
        with self._lock:
            now = self._refill()
            if now < self._closed_until:
                return self._closed_until - now
            if self._rate is None:
                return 0.0
            needed = min(amount, self._burst)
            if self._free + 1e-9 < needed:
                return (needed - self._free) / self._rate
            self._free -= amount
            return 0.0

    def _refill(self) -> float:
        now = self._clock()
        if self._rate is not None:
            self._free = min(self._burst, self._free + (now - self._at) * self._rate)
        self._at = now
        return now
