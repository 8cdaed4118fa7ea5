"""Carries metrics from the devices to the next report without making the devices wait."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import jax


@runtime_checkable
class Sum(Protocol):
    """A weighted sum beside its weight; `losses.reduction.WeightedSum` is one."""

    @property
    def total(self) -> Any: ...

    @property
    def weight(self) -> Any: ...


class InFlight:
    """Holds the metrics of the last dispatched step while the devices compute them.

    Reading a device array waits for it. Reading step n-1's after step n has been dispatched keeps
    the devices busy meanwhile.
    """

    def __init__(self) -> None:
        self._held: tuple[int, Any] | None = None

    def put(self, step: int, metrics: Any) -> tuple[int, Any] | None:
        """Takes a pytree of device arrays; returns the previous one's step and host values."""
        for leaf in jax.tree.leaves(metrics):
            if isinstance(leaf, jax.Array):
                leaf.copy_to_host_async()
        previous = self.take()
        self._held = (step, metrics)
        return previous

    def take(self) -> tuple[int, Any] | None:
        """Returns the held step and its host values, if there are any, waiting for the devices."""
        held, self._held = self._held, None
        return None if held is None else (held[0], jax.device_get(held[1]))


class Accumulator:
    """Accumulates the metrics of several steps in float64.

    Weighted sums give Σ total / Σ weight over all steps: the mean over tokens, not over steps.
    Scalars (norms, learning rate) give their mean over steps.
    """

    def __init__(self) -> None:
        self._sums: dict[str, tuple[float, float]] = {}

    def add(self, sums: Mapping[str, Sum], scalars: Mapping[str, Any]) -> None:
        """Adds one step's host values."""
        for name, value in sums.items():
            self._add(name, float(value.total), float(value.weight))
        for name, value in scalars.items():
            self._add(name, float(value), 1.0)

    def means(self) -> dict[str, float]:
        """Returns the means; NaN where nothing was weighed."""
        return {
            name: total / weight if weight else math.nan
            for name, (total, weight) in self._sums.items()
        }

    def reset(self) -> None:
        """Begins anew."""
        self._sums = {}

    def state(self) -> dict[str, list[float]]:
        """Returns what has been accumulated as a JSON-able dict, exactly."""
        return {name: list(pair) for name, pair in self._sums.items()}

    def restore(self, state: Mapping[str, list[float]]) -> None:
        """Goes on from what `state` returned."""
        self._sums = {name: (total, weight) for name, (total, weight) in state.items()}

    def _add(self, name: str, total: float, weight: float) -> None:
        old_total, old_weight = self._sums.get(name, (0.0, 0.0))
        self._sums[name] = (old_total + total, old_weight + weight)
