"""The order of examples in a training run: mixing, shuffling and epochs, at any place in O(1)."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Mapping

import numpy as np
from jaxtyping import Int

from tlm_jax.data.pipeline.shuffle import permute
from tlm_jax.errors import UserError
from tlm_jax.ragged import exclusive_cumsum

_SMALLEST_BLOCK = 64
_LARGEST_BLOCK = 1 << 16


@dataclasses.dataclass(frozen=True)
class ExampleOrder:
    """The global order of a run's examples, a pure function of its fields.

    Position p of an endless run lies in block p // M of the mixture. Every block holds the same
    number of examples of each task, by largest remainder of the rates, in a shuffled order; each
    task's examples come in its own shuffled order, a new one every epoch. So every example of a
    task is met exactly once in an epoch of that task. A run of `num_epochs` holds every example of
    every task that many times, one task after another; rates play no part there. (With an endless
    task among them it is the mixture, up to `max_examples`.)

    Attributes:
      rates: the share of each task, by name.
      sizes: the number of examples of each task; None for an endless one.
      seed: chooses the order.
      shuffle: whether tasks are shuffled; endless tasks are read in order in any case.
      num_epochs: how often to go through every task; None for ever.
      max_examples: where to stop; None for no limit.
    """

    rates: Mapping[str, float]
    sizes: Mapping[str, int | None]
    seed: int = 0
    shuffle: bool = True
    num_epochs: int | None = None
    max_examples: int | None = None

    def __post_init__(self):
        for name, size in self.sizes.items():
            if size == 0:
                raise UserError(f"task {name!r} has no examples in this split.")
            if size is None and self.num_epochs is not None and self.max_examples is None:
                raise UserError(
                    f"task {name!r} is endless, so num_epochs={self.num_epochs} would never end; "
                    "set max_examples, or num_epochs=None for training."
                )

    @property
    def names(self) -> tuple[str, ...]:
        """The tasks; `locate` gives their numbers."""
        return tuple(self.rates)

    @functools.cached_property
    def total(self) -> int | None:
        """The number of positions; None if there is no end."""
        limits = [] if self.max_examples is None else [self.max_examples]
        if self.num_epochs is not None and self._all_finite:
            limits.append(sum(size or 0 for size in self.sizes.values()) * self.num_epochs)
        return min(limits, default=None)

    @functools.cached_property
    def block_counts(self) -> Int[np.ndarray, "tasks"]:
        """How many examples of each task are in a block of the mixture."""
        return block_counts(np.array(list(self.rates.values())))

    def locate(
        self, positions: Int[np.ndarray, "n"]
    ) -> tuple[Int[np.ndarray, "n"], Int[np.ndarray, "n"]]:
        """Returns the task number and the index within its split at each position."""
        tasks, turns = self.turns(positions)
        indices = turns.copy()
        for number, name in enumerate(self.names):
            size = self.sizes[name]
            if size is None:
                continue
            here = tasks == number
            epochs, within = turns[here] // size, turns[here] % size
            if self.shuffle:
                within = permute(within, size, self.seed, _number(name), epochs)
            indices[here] = within
        return tasks, indices

    def turns(
        self, positions: Int[np.ndarray, "n"]
    ) -> tuple[Int[np.ndarray, "n"], Int[np.ndarray, "n"]]:
        """Returns the task number at each position, and how many of its examples came before."""
        if self.num_epochs is not None and self._all_finite:
            return self._one_after_another(positions)
        return self._mixed(positions)

    @property
    def _all_finite(self) -> bool:
        return None not in self.sizes.values()

    def _mixed(
        self, positions: Int[np.ndarray, "n"]
    ) -> tuple[Int[np.ndarray, "n"], Int[np.ndarray, "n"]]:
        counts = self.block_counts
        blocks, offsets = positions // counts.sum(), positions % counts.sum()
        if len(counts) == 1:
            return np.zeros_like(positions), positions
        slots = permute(offsets, int(counts.sum()), self.seed, _number("mixture"), blocks)
        tasks = np.searchsorted(np.cumsum(counts), slots, side="right")
        return tasks, blocks * counts[tasks] + slots - exclusive_cumsum(counts)[tasks]

    def _one_after_another(
        self, positions: Int[np.ndarray, "n"]
    ) -> tuple[Int[np.ndarray, "n"], Int[np.ndarray, "n"]]:
        lengths = np.array([self.sizes[name] for name in self.names]) * (self.num_epochs or 1)
        tasks = np.searchsorted(np.cumsum(lengths), positions, side="right")
        return tasks, positions - exclusive_cumsum(lengths)[tasks]


def block_counts(rates: np.ndarray) -> Int[np.ndarray, "tasks"]:
    """Divides a block of examples among tasks by the largest-remainder method.

    The block is the smallest power of two from 64 to 65,536 in which every task's count is within
    0.1 % of its share; every task gets at least one example of a block.
    """
    shares = rates / rates.sum()
    size = _SMALLEST_BLOCK
    while True:
        exact = shares * size
        counts = np.floor(exact).astype(np.int64)
        largest_first = np.argsort(counts - exact, kind="stable")
        counts[largest_first[: size - int(counts.sum())]] += 1
        counts = np.maximum(counts, 1)
        if size >= _LARGEST_BLOCK or np.all(np.abs(counts / counts.sum() / shares - 1) <= 1e-3):
            return counts
        size *= 2


def _number(name: str) -> int:
    """Returns a number for a name that is the same in every process."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
