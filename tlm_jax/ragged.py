"""Sequences of different lengths in one array, so that whole batches are handled without loops."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Int, Integer, Shaped


@dataclasses.dataclass(frozen=True)
class Ragged:
    """`n` sequences, one after another in `values`.

    Attributes:
      values: all elements, [total, ...]; trailing axes are the same for every sequence.
      lengths: the length of each sequence, int64 [n]; they add up to `total`.
    """

    values: Shaped[np.ndarray, "total ..."]
    lengths: Int[np.ndarray, "n"]

    @classmethod
    def from_arrays(cls, arrays: Sequence[np.ndarray], dtype: np.dtype | type) -> Ragged:
        """Joins arrays that agree in all but their first axis."""
        lengths = np.fromiter((len(a) for a in arrays), np.int64, len(arrays))
        values = np.concatenate(arrays) if len(arrays) else np.zeros((0,), dtype)
        return cls(values.astype(dtype, copy=False), lengths)

    @classmethod
    def concatenate(cls, parts: Sequence[Ragged]) -> Ragged:
        """Puts the sequences of `parts` one after another."""
        if len(parts) == 1:
            return parts[0]
        return cls(
            np.concatenate([part.values for part in parts]),
            np.concatenate([part.lengths for part in parts]),
        )

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, index: int) -> np.ndarray:
        start = int(self.lengths[:index].sum())
        return self.values[start : start + int(self.lengths[index])]

    @property
    def starts(self) -> Int[np.ndarray, "n"]:
        """Where each sequence begins in `values`."""
        return exclusive_cumsum(self.lengths)

    def take(self, indices: Integer[np.ndarray, "m"]) -> Ragged:
        """Returns the sequences at `indices`, in that order."""
        lengths = self.lengths[indices]
        return Ragged(self.values[spans(self.starts[indices], lengths)], lengths)

    def trim(self, length: int) -> Ragged:
        """Cuts every sequence after `length` elements."""
        lengths = np.minimum(self.lengths, length)
        if lengths.sum() == self.lengths.sum():
            return self
        return Ragged(self.values[spans(self.starts, lengths)], lengths)

    def append(self, value: int) -> Ragged:
        """Puts `value` at the end of every sequence."""
        lengths = self.lengths + 1
        ends = np.cumsum(lengths) - 1
        values = np.empty((int(lengths.sum()), *self.values.shape[1:]), self.values.dtype)
        is_end = np.zeros(len(values), bool)
        is_end[ends] = True
        values[is_end] = value
        values[~is_end] = self.values
        return Ragged(values, lengths)

    def join(self, other: Ragged) -> Ragged:
        """Puts each sequence of `other` behind the one of the same number here."""
        lengths = self.lengths + other.lengths
        starts = exclusive_cumsum(lengths)
        shape = (int(lengths.sum()), *self.values.shape[1:])
        values = np.empty(shape, np.result_type(self.values, other.values))
        values[spans(starts, self.lengths)] = self.values
        values[spans(starts + self.lengths, other.lengths)] = other.values
        return Ragged(values, lengths)


@dataclasses.dataclass(frozen=True)
class TokenizedExamples:
    """Examples as arrays: one Ragged a feature, all with as many sequences as there are ids.

    Attributes:
      features: token ids ("inputs", "targets") and features aligned with the targets.
      ids: the examples' names.
      records: the examples as their source gave them, for evaluation and for showing.
    """

    features: Mapping[str, Ragged]
    ids: tuple[str, ...]
    records: tuple[Mapping[str, str | np.ndarray], ...]

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, indices: Integer[np.ndarray, "m"]) -> TokenizedExamples:
        """Returns the examples at `indices`, in that order."""
        return TokenizedExamples(
            {name: feature.take(indices) for name, feature in self.features.items()},
            tuple(self.ids[i] for i in indices),
            tuple(self.records[i] for i in indices),
        )

    @classmethod
    def concatenate(cls, parts: Sequence[TokenizedExamples]) -> TokenizedExamples:
        """Puts the examples of `parts`, which have the same features, one after another."""
        if len(parts) == 1:
            return parts[0]
        return cls(
            {
                name: Ragged.concatenate([part.features[name] for part in parts])
                for name in parts[0].features
            },
            tuple(example_id for part in parts for example_id in part.ids),
            tuple(record for part in parts for record in part.records),
        )


@dataclasses.dataclass(frozen=True)
class PreparedExamples:
    """Examples cut to length, along the axes in which they are packed.

    Attributes:
      examples: trimmed features, ids and records.
      axes: the lengths along each axis, int64 [n, axes]: encoder and decoder, or the decoder alone.
    """

    examples: TokenizedExamples
    axes: Int[np.ndarray, "n axes"]

    def __len__(self) -> int:
        return len(self.examples)

    def take(self, indices: np.ndarray) -> PreparedExamples:
        """Returns the examples at `indices`, in that order."""
        return PreparedExamples(self.examples.take(indices), self.axes[indices])

    @classmethod
    def concatenate(cls, parts: Sequence[PreparedExamples]) -> PreparedExamples:
        """Puts the examples of `parts` one after another."""
        return cls(
            TokenizedExamples.concatenate([part.examples for part in parts]),
            np.concatenate([part.axes for part in parts]),
        )


def exclusive_cumsum(lengths: Int[np.ndarray, "n"]) -> Int[np.ndarray, "n"]:
    """Returns the sum of all elements before each one."""
    return np.cumsum(lengths) - lengths


def ranges(lengths: Int[np.ndarray, "n"]) -> Int[np.ndarray, "total"]:
    """Returns 0, 1, ..., length - 1 for each length in turn."""
    return spans(np.zeros_like(lengths), lengths)


def spans(starts: Int[np.ndarray, "n"], lengths: Int[np.ndarray, "n"]) -> Int[np.ndarray, "total"]:
    """Returns start, start + 1, ..., start + length - 1 for each pair in turn."""
    offsets = np.repeat(starts - exclusive_cumsum(lengths), lengths)
    return offsets + np.arange(len(offsets))
