"""Codes whole numbers by their size: a prefix code for how many bits follow, then the bits."""

from __future__ import annotations

import dataclasses
import heapq

import numpy as np
from jaxtyping import Int, Int64, UInt64

MAX_CLASS = 20
"""Numbers are below 2^(MAX_CLASS + 1) - 1."""

MAX_PREFIX_BITS = 8
ABSENT = 15
"""Stands in `LengthCode.lengths` for a class that never occurs."""

TABLE_BYTES = (MAX_CLASS + 2) // 2

_Table = UInt64[np.ndarray, "..."]


@dataclasses.dataclass(frozen=True)
class LengthCode:
    """A code for whole numbers `s >= 0`.

    `s + 1` has `k + 1` bits; k is the class of `s`. Its prefix comes first, then the k low bits of
    `s + 1`, both from the lowest bit up. Prefixes are a canonical Huffman code of the classes, of
    at most 8 bits, whose first bit is the lowest. As close to the entropy as numbers within a class
    are equally frequent.

    Attributes:
      lengths: bits of the prefix of each class, 0 where it is the only one, `ABSENT` if unused.
    """

    lengths: tuple[int, ...]
    _codes: _Table = dataclasses.field(init=False, repr=False, compare=False)
    _bits: _Table = dataclasses.field(init=False, repr=False, compare=False)
    _prefix: _Table = dataclasses.field(init=False, repr=False, compare=False)
    _total: _Table = dataclasses.field(init=False, repr=False, compare=False)
    _low_bits: _Table = dataclasses.field(init=False, repr=False, compare=False)

    def __post_init__(self):
        used = [bits for bits in self.lengths if bits != ABSENT]
        filled = sum(2.0**-bits for bits in used)
        if len(self.lengths) != MAX_CLASS + 1 or not used or filled != 1:
            raise ValueError(f"not the lengths of a prefix code: {self.lengths}")
        codes, code, before = [0] * len(self.lengths), 0, 0
        for bits, k in sorted((bits, k) for k, bits in enumerate(self.lengths) if bits != ABSENT):
            code <<= bits - before
            codes[k] = int(format(code, f"0{bits}b")[::-1], 2) if bits else 0
            code, before = code + 1, bits
        by_window = np.zeros(1 << MAX_PREFIX_BITS, np.int64)
        for k, bits in enumerate(self.lengths):
            if bits != ABSENT:
                by_window[codes[k] :: 1 << bits] = k
        bits_of_class = np.array([0 if b == ABSENT else b for b in self.lengths], np.uint64)
        classes = np.arange(MAX_CLASS + 1, dtype=np.uint64)
        # Tables by class for encoding, by the next 8 bits for decoding.
        tables = {
            "_codes": np.array(codes, np.uint64),
            "_bits": bits_of_class,
            "_prefix": bits_of_class[by_window],
            "_total": (bits_of_class + classes)[by_window],
            "_low_bits": ((np.uint64(1) << classes) - np.uint64(1))[by_window],
        }
        for name, table in tables.items():
            object.__setattr__(self, name, table)

    @classmethod
    def of_counts(cls, counts: Int[np.ndarray, "K"]) -> LengthCode:
        """Returns the code for classes that occur `counts` times; class 0 alone where none does."""
        padded = np.zeros(MAX_CLASS + 1, np.int64)
        padded[: len(counts)] = counts
        if not padded.any():
            padded[0] = 1
        # Halving the counts flattens the code until it fits in 8 bits.
        while max(lengths := _huffman_lengths(padded)) > MAX_PREFIX_BITS:
            padded = (padded + 1) // 2
        return cls(tuple(ABSENT if n == 0 else bits for n, bits in zip(padded.tolist(), lengths)))

    @classmethod
    def from_bytes(cls, data: bytes) -> LengthCode:
        """Reads `to_bytes`.

        Raises:
          ValueError: not a prefix code.
        """
        nibbles = [part for byte in data for part in (byte & 15, byte >> 4)]
        return cls(tuple(nibbles[: MAX_CLASS + 1]))

    def to_bytes(self) -> bytes:
        """Returns the lengths as `TABLE_BYTES` bytes, two in each, the first in the low bits."""
        nibbles = [*self.lengths, 0]
        return bytes(low | high << 4 for low, high in zip(nibbles[::2], nibbles[1::2]))

    def cost(self, counts: Int[np.ndarray, "K"]) -> int:
        """Returns the bits that numbers take whose classes occur `counts` times."""
        return sum(n * (self.lengths[k] + k) for k, n in enumerate(counts.tolist()) if n)

    def encode(
        self, numbers: Int[np.ndarray, "n"]
    ) -> tuple[UInt64[np.ndarray, "n"], Int64[np.ndarray, "n"]]:
        """Returns each number's code, its first bit lowest, and how many bits it has."""
        classes = classes_of(numbers)
        prefix_bits = self._bits[classes]
        low = numbers.astype(np.uint64) + np.uint64(1) - (np.uint64(1) << classes.astype(np.uint64))
        bits = self._codes[classes] | low << prefix_bits
        return bits, prefix_bits.astype(np.int64) + classes

    def decode(
        self, window: UInt64[np.ndarray, "n"]
    ) -> tuple[UInt64[np.ndarray, "n"], UInt64[np.ndarray, "n"]]:
        """Returns the number at the low end of each window, and how many bits it took."""
        index = (window & np.uint64(255)).view(np.int64)
        low_bits = self._low_bits.take(index)
        numbers = (window >> self._prefix.take(index)) & low_bits
        numbers += low_bits
        return numbers, self._total.take(index)

    @property
    def constant_zero(self) -> bool:
        """Whether every number is 0, and takes no bits."""
        return self.lengths[0] == 0


def classes_of(numbers: Int[np.ndarray, "n"]) -> Int64[np.ndarray, "n"]:
    """Returns the number of bits of `s + 1`, less one, of every s (exact: s is below 2^52)."""
    return np.frexp((numbers + 1).astype(np.float64))[1].astype(np.int64) - 1


def _huffman_lengths(counts: Int[np.ndarray, "K"]) -> list[int]:
    """Returns the depth of every class in a Huffman tree; 0 for a class alone or without count."""
    lengths = [0] * len(counts)
    heap: list[tuple[int, int, tuple[int, ...]]]
    heap = [(int(n), k, (k,)) for k, n in enumerate(counts) if n]
    heapq.heapify(heap)
    while len(heap) > 1:
        first, second = heapq.heappop(heap), heapq.heappop(heap)
        merged = first[2] + second[2]
        for k in merged:
            lengths[k] += 1
        heapq.heappush(heap, (first[0] + second[0], min(first[1], second[1]), merged))
    return lengths
