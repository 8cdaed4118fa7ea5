"""Plans of the rows of each batch, packed or not, from any batch on."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable, Iterator, Mapping

import numpy as np
from jaxtyping import Bool, Int

from tlm_jax.data.pipeline.converter import Converter
from tlm_jax.data.pipeline.packing import assign_rows
from tlm_jax.data.pipeline.shuffle import permute
from tlm_jax.ragged import PreparedExamples, TokenizedExamples

ReadExamples = Callable[[np.ndarray], TokenizedExamples]
"""From positions in the global order to the tokenized examples there."""


@dataclasses.dataclass(frozen=True)
class BatchRows:
    """The examples of this host's rows of one batch.

    Attributes:
      prepared: the examples, trimmed.
      rows: the row of each, from 0, int64 [n].
      truncated: how many examples lost tokens, by feature.
      places: where each of this host's shards stands behind this batch, int64 [shards, 2].
    """

    prepared: PreparedExamples
    rows: Int[np.ndarray, "n"]
    truncated: Mapping[str, int]
    places: Int[np.ndarray, "shards 2"]


class RowPlan(abc.ABC):
    """The rows of every batch, readable from any batch on."""

    @abc.abstractmethod
    def start(self) -> Int[np.ndarray, "shards 2"]:
        """Returns the places of this host's shards before the first batch."""

    @abc.abstractmethod
    def batches(self, step: int, places: Int[np.ndarray, "shards 2"]) -> Iterator[BatchRows]:
        """Yields this host's rows of batch `step`, step + 1, ..."""


@dataclasses.dataclass(frozen=True)
class UnpackedRows(RowPlan):
    """Row r of batch k is the example at position k * batch_size + r.

    Attributes:
      read: gives the examples.
      converter: trims them.
      total: positions in all; None for no end.
      batch_size: rows of the global batch.
      host_rows: this host's.
    """

    read: ReadExamples
    converter: Converter
    total: int | None
    batch_size: int
    host_rows: range

    def start(self) -> Int[np.ndarray, "shards 2"]:
        return np.zeros((0, 2), np.int64)

    def batches(self, step: int, places: Int[np.ndarray, "shards 2"]) -> Iterator[BatchRows]:
        while self.total is None or step * self.batch_size < self.total:
            positions = step * self.batch_size + np.asarray(self.host_rows, np.int64)
            if self.total is not None:
                positions = positions[positions < self.total]
            # A host whose rows are all padding still needs an example's dtypes and shapes.
            examples = self.read(positions if positions.size else np.zeros(1, np.int64))
            if not positions.size:
                examples = examples.take(np.zeros(0, np.int64))
            rows = np.arange(len(examples))
            cut = self.converter.find_truncated(examples)
            truncated = {name: int(np.count_nonzero(of)) for name, of in cut.items()}
            yield BatchRows(self.converter.prepare(examples), rows, truncated, places)
            step += 1


@dataclasses.dataclass(frozen=True)
class PackedRows(RowPlan):
    """Shard s of S owns the positions p with p mod S = s, and an equal block of every batch's rows.

    A shard packs its examples window by window, and hands out the rows of a window in a shuffled
    order. The place of a shard is (window, row within the window), so going anywhere costs the
    packing of one window a shard. The first window of shard s holds only (s + 1) / S of `window`
    examples (an eighth at least), so that the shards come to the ends of their windows in turn, not
    all at one batch.

    Attributes:
      read: gives the examples.
      converter: trims them and tells their lengths.
      total: positions in all; None for no end.
      num_shards: S, over all hosts.
      local_shards: this host's.
      rows_per_shard: of every batch.
      window: examples packed together.
      seed: chooses the order of a window's rows.
    """

    read: ReadExamples
    converter: Converter
    total: int | None
    num_shards: int
    local_shards: range
    rows_per_shard: int
    window: int
    seed: int

    def start(self) -> Int[np.ndarray, "shards 2"]:
        return np.zeros((len(self.local_shards), 2), np.int64)

    def batches(self, step: int, places: Int[np.ndarray, "shards 2"]) -> Iterator[BatchRows]:
        shards = [
            _Shard(self, shard, int(window), int(row))
            for shard, (window, row) in zip(self.local_shards, places)
        ]
        last_step = self._count_steps()
        while last_step is None or step < last_step:
            parts, rows, truncated = [], [], dict.fromkeys(self.converter.feature_lengths, 0)
            for number, shard in enumerate(shards):
                for row in range(self.rows_per_shard):
                    taken = shard.take_row(truncated)
                    if taken is not None:
                        parts.append(taken)
                        rows.append(np.full(len(taken), number * self.rows_per_shard + row))
            if not parts:
                if last_step is None:
                    return
                # Other hosts still have rows: a batch of padding keeps step with them.
                parts = [self._prepare_window(0, 0)[0].take(np.zeros(0, np.int64))]
                rows = [np.zeros(0, np.int64)]
            yield BatchRows(
                PreparedExamples.concatenate(parts),
                np.concatenate(rows),
                truncated,
                np.array([[shard.window, shard.row] for shard in shards], np.int64),
            )
            step += 1

    def _count_steps(self) -> int | None:
        """Returns the number of batches where hosts must agree on it: finite data, several hosts.

        Shards end at different batches then, and no host sees all of them, so each counts the rows
        of every shard by packing everything once, tokens only.
        """
        if self.total is None or len(self.local_shards) == self.num_shards:
            return None
        steps = 0
        for shard in range(self.num_shards):
            window, rows = 0, 0
            while self._positions(shard, window).size:
                rows += int(self._prepare_window(shard, window)[1].max()) + 1
                window += 1
            steps = max(steps, -(-rows // self.rows_per_shard))
        return steps

    def _positions(self, shard: int, window: int) -> Int[np.ndarray, "n"]:
        """Returns the positions of a window of a shard; none behind the end."""
        first_size = max(self.window // 8, self.window * (shard + 1) // self.num_shards, 1)
        first = 0 if window == 0 else first_size + (window - 1) * self.window
        size = first_size if window == 0 else self.window
        positions = np.arange(first, first + size, dtype=np.int64) * self.num_shards + shard
        return positions if self.total is None else positions[positions < self.total]

    def _prepare_window(
        self, shard: int, window: int
    ) -> tuple[PreparedExamples, Int[np.ndarray, "n"], dict[str, Bool[np.ndarray, "n"]]]:
        """Returns a window's examples, the row of each, and whether it was truncated."""
        examples = self.read(self._positions(shard, window))
        prepared = self.converter.prepare(examples)
        rows = assign_rows(prepared.axes, self.converter.row_lengths)
        num_rows = int(rows.max()) + 1
        rows = permute(rows, num_rows, self.seed, shard, window)
        return prepared, rows, self.converter.find_truncated(examples)


class _Shard:
    """Goes through the rows of one shard."""

    def __init__(self, plan: PackedRows, shard: int, window: int, row: int):
        self.window, self.row = window, row
        self._plan = plan
        self._shard = shard
        self._prepared: PreparedExamples | None = None
        self._cut: dict[str, np.ndarray] = {}
        self._members: list[np.ndarray] = []

    def take_row(self, truncated: dict[str, int]) -> PreparedExamples | None:
        """Returns the examples of the next row, or None behind the end.

        Args:
          truncated: counts of examples that lost tokens, to which those of the row are added.
        """
        if self._prepared is None:
            if not self._plan._positions(self._shard, self.window).size:
                return None
            self._prepared, rows, self._cut = self._plan._prepare_window(self._shard, self.window)
            ends = np.cumsum(np.bincount(rows))
            self._members = np.split(np.argsort(rows, kind="stable"), ends[:-1])
        members = self._members[self.row]
        taken = self._prepared.take(members)
        for name, of in self._cut.items():
            truncated[name] += int(np.count_nonzero(of[members]))
        self.row += 1
        if self.row == len(self._members):
            self.window, self.row, self._prepared = self.window + 1, 0, None
        return taken
