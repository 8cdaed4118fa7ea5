"""Counts what a server was asked and gave, and what that cost."""

from __future__ import annotations

import collections
import threading
from collections.abc import Mapping

from tlm_jax.remote.wire import Completion


class Meter:
    """Requests, tokens, faults and cost; shared by threads."""

    def __init__(self, *, input_price: float = 0.0, output_price: float = 0.0):
        """Starts at zero; prices are for a million tokens, in any currency."""
        self._lock = threading.Lock()
        self._prices = input_price, output_price
        self.requests = self.cached = self.prompt_tokens = self.completion_tokens = 0
        self.faults: collections.Counter[str] = collections.Counter()

    def count_request(self) -> None:
        """Counts a request as it is sent, retries included."""
        with self._lock:
            self.requests += 1

    def count_fault(self, kind: str) -> None:
        """Counts something that went wrong, by its kind."""
        with self._lock:
            self.faults[kind] += 1

    def count(self, completion: Completion) -> None:
        """Counts an answer; one from the cache costs nothing."""
        with self._lock:
            if completion.cached:
                self.cached += 1
            else:
                self.prompt_tokens += completion.prompt_tokens
                self.completion_tokens += completion.completion_tokens

    @property
    def cost(self) -> float:
        """What the tokens cost at the given prices."""
        one, other = self._prices
        return (self.prompt_tokens * one + self.completion_tokens * other) / 1e6

    def figures(self) -> Mapping[str, object]:
        """Returns everything by name, for the summary of a run."""
        return {
            "requests": self.requests,
            "cached_responses": self.cached,
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "cost": round(self.cost, 6),
            "faults": dict(sorted(self.faults.items())),
        }

    def line(self) -> str:
        """Returns it in words."""
        text = (
            f"{self.requests:,} requests, {self.cached:,} answers from the cache, "
            f"{self.prompt_tokens:,} prompt + {self.completion_tokens:,} generated tokens"
        )
        if any(self._prices):
            text += f", cost {self.cost:,.4f}"
        if self.faults:
            counts = ", ".join(f"{count} x {kind}" for kind, count in sorted(self.faults.items()))
            text += f"; faults: {counts}"
        return text
