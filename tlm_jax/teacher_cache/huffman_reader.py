"""Reads sparse steps of shards of format version 1, which were coded by Huffman's method.

A number `s >= 0` is coded by its size: `s + 1` has `k + 1` bits; a prefix code for k comes first,
then the k low bits of `s + 1`. A step's bits are, each by its own code of the shard's codebook:

    C - count | place of the scored token | its rank, if it is no candidate
    | rank of id, gap of level | ... one pair a candidate ... | tail, if the count is not 0

Decoding goes column by column, all steps of a chunk together; each step's number of bits stands
before the steps.
"""

from __future__ import annotations

import dataclasses
import itertools
import struct
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int32, Int64, Integer, UInt8, UInt64

from tlm_jax.ragged import exclusive_cumsum, ranges
from tlm_jax.teacher_cache.id_ranks import table_from_bytes
from tlm_jax.teacher_cache.sparse_symbols import DecodedSymbols

_MAX_CLASS = 20
_MAX_PREFIX_BITS = 8
_ABSENT = 15
"""Stands in `LengthCode.lengths` for a class that never occurs."""

_TABLE_BYTES = (_MAX_CLASS + 2) // 2

_ROW = struct.Struct("<IIB")  # steps, bits of the shortest step, bits of each further length
_CHUNK_STEPS = 8192

_Table = UInt64[np.ndarray, "..."]


@dataclasses.dataclass(frozen=True)
class LengthCode:
    """A canonical Huffman code of classes, of at most 8 bits, whose first bit is the lowest.

    Attributes:
      lengths: bits of the prefix of each class, 0 where it is the only one, 15 if unused.
    """

    lengths: tuple[int, ...]
    _prefix: _Table = dataclasses.field(init=False, repr=False, compare=False)
    _total: _Table = dataclasses.field(init=False, repr=False, compare=False)
    _low_bits: _Table = dataclasses.field(init=False, repr=False, compare=False)

    def __post_init__(self):
        used = [bits for bits in self.lengths if bits != _ABSENT]
        filled = sum(2.0**-bits for bits in used)
        if len(self.lengths) != _MAX_CLASS + 1 or not used or filled != 1:
            raise ValueError(f"not the lengths of a prefix code: {self.lengths}")
        by_window = np.zeros(1 << _MAX_PREFIX_BITS, np.int64)
        code, before = 0, 0
        for bits, k in sorted((bits, k) for k, bits in enumerate(self.lengths) if bits != _ABSENT):
            code <<= bits - before
            from_lowest = int(format(code, f"0{bits}b")[::-1], 2) if bits else 0
            by_window[from_lowest :: 1 << bits] = k
            code, before = code + 1, bits
        prefix = np.array([0 if bits == _ABSENT else bits for bits in self.lengths], np.uint64)
        classes = np.arange(_MAX_CLASS + 1, dtype=np.uint64)
        # Tables by the next 8 bits.
        tables = {
            "_prefix": prefix[by_window],
            "_total": (prefix + classes)[by_window],
            "_low_bits": ((np.uint64(1) << classes) - np.uint64(1))[by_window],
        }
        for name, table in tables.items():
            object.__setattr__(self, name, table)

    @classmethod
    def from_bytes(cls, data: bytes) -> LengthCode:
        """Reads the lengths, two in each byte, the first in the low bits.

        Raises:
          ValueError: not a prefix code.
        """
        nibbles = [part for byte in data for part in (byte & 15, byte >> 4)]
        return cls(tuple(nibbles[: _MAX_CLASS + 1]))

    def decode(
        self, window: UInt64[np.ndarray, "n"]
    ) -> tuple[UInt64[np.ndarray, "n"], UInt64[np.ndarray, "n"]]:
        """Returns the number at the low end of each window, and how many bits it took."""
        index = (window & np.uint64(255)).view(np.int64)
        low_bits = self._low_bits.take(index)
        numbers = (window >> self._prefix.take(index)) & low_bits
        numbers += low_bits
        return numbers, self._total.take(index)


@dataclasses.dataclass(frozen=True)
class HuffmanCodebook:
    """The codes of a shard.

    Attributes:
      max_candidates: C; no step has more.
      ranked_ids: the id of each rank, distinct; none at all where ranks are the ids themselves.
      missing: code of C - count.
      place: code of the scored token's place, the count if it is no candidate.
      absent: code of the rank of a scored token that is no candidate.
      tail: code of the tail's symbol.
      ids: codes of ranks, for columns of 0, 1, 2, ... bits.
      gaps: codes of gaps between levels, likewise.
    """

    max_candidates: int
    ranked_ids: Int32[np.ndarray, " R"]
    missing: LengthCode
    place: LengthCode
    absent: LengthCode
    tail: LengthCode
    ids: tuple[LengthCode, ...]
    gaps: tuple[LengthCode, ...]

    @classmethod
    def from_bytes(cls, data: bytes, max_candidates: int) -> HuffmanCodebook:
        """Reads what stands in the shard.

        Raises:
          ValueError: not a codebook for that many candidates.
        """
        contexts = (max_candidates - 1).bit_length() + 1
        size = (4 + 2 * contexts) * _TABLE_BYTES
        missing, place, absent, tail, *pairs = (
            LengthCode.from_bytes(data[at : at + _TABLE_BYTES])
            for at in range(0, size, _TABLE_BYTES)
        )
        ranked = table_from_bytes(data[size:])
        ids, gaps = tuple(pairs[:contexts]), tuple(pairs[contexts:])
        return cls(max_candidates, ranked, missing, place, absent, tail, ids, gaps)

    def decode(
        self, bodies: Sequence[bytes | memoryview]
    ) -> tuple[DecodedSymbols, Int64[np.ndarray, " rows"]]:
        """Returns the steps of all bodies one after another, and the number of steps of each.

        Raises:
          ValueError: a body does not fit the codebook.
        """
        data, starts, ends, steps = _step_starts(bodies)
        total = len(starts)
        tokens, counts, tails = (np.zeros(total, np.int32) for _ in range(3))
        ids, levels = (np.zeros((total, self.max_candidates), np.int32) for _ in range(2))
        out = DecodedSymbols(tokens, counts, ids, levels, tails)
        for first in range(0, total, _CHUNK_STEPS):
            chunk = slice(first, first + _CHUNK_STEPS)
            stops = _decode_chunk(self, data, starts[chunk], out, chunk)
            if not np.array_equal(stops, ends[chunk]):
                raise ValueError("the steps' bits do not end where they should")
        return out, steps


def _decode_chunk(
    book: HuffmanCodebook,
    data: UInt8[np.ndarray, " n"],
    starts: UInt64[np.ndarray, " N"],
    out: DecodedSymbols,
    chunk: slice,
) -> UInt64[np.ndarray, " N"]:
    """Fills rows `chunk` of `out`; returns where the bits of each step stop."""
    window = _windows(data, starts)
    missing, used = book.missing.decode(window)
    places, more = book.place.decode(window >> used)
    at = starts + used + more
    counts, places = book.max_candidates - missing.view(np.int64), places.view(np.int64)
    if counts.min(initial=0) < 0 or (places > counts).any():
        raise ValueError("a step of fewer than no candidates")
    absent = np.flatnonzero(places == counts)
    absent_ranks, more = book.absent.decode(_windows(data, at[absent]))
    at[absent] += more
    ranks, levels = _decode_pairs(book, data, at, counts)
    kept = np.flatnonzero(counts)
    tails, more = book.tail.decode(_windows(data, at[kept]))
    at[kept] += more
    ids = _ids(book, ranks)
    if book.missing.lengths[0] != 0:
        beyond = np.arange(book.max_candidates)[:, None] >= counts
        ids[beyond] = 0
        levels[beyond] = 0
    out.counts[chunk] = counts
    out.ids[chunk] = ids.T
    out.levels[chunk] = levels.T
    out.tails[chunk][kept] = tails
    tokens = ids[np.minimum(places, book.max_candidates - 1), np.arange(len(places))]
    tokens[absent] = _ids(book, absent_ranks)
    out.token_ids[chunk] = tokens
    return at


def _decode_pairs(
    book: HuffmanCodebook,
    data: UInt8[np.ndarray, " n"],
    at: UInt64[np.ndarray, " N"],
    counts: Int64[np.ndarray, " N"],
) -> tuple[Int32[np.ndarray, "C N"], Int32[np.ndarray, "C N"]]:
    """Returns ranks and levels, and moves `at` behind them."""
    ranks = np.zeros((book.max_candidates, len(counts)), np.int32)
    levels = np.zeros_like(ranks)
    live, here = np.arange(len(counts)), at
    shortest = int(counts.min(initial=book.max_candidates))
    for column in range(int(counts.max(initial=0))):
        if column >= shortest:
            going = counts[live] > column
            if not going.all():
                at[live] = here
                live = live[going]
                here = at[live]
        window = _windows(data, here)
        context = column.bit_length()
        found, used = book.ids[context].decode(window)
        gap, more = book.gaps[context].decode(window >> used)
        here += used + more
        where = slice(None) if len(live) == len(counts) else live
        ranks[column, where] = found
        levels[column, where] = gap
    at[live] = here
    # Ten times faster than a cumulative sum along the first axis.
    for before, column in itertools.pairwise(levels):
        column += before
    return ranks, levels


def _ids(book: HuffmanCodebook, ranks: Integer[np.ndarray, "..."]) -> Int32[np.ndarray, "..."]:
    if not len(book.ranked_ids):
        return ranks.astype(np.int32)
    try:
        return book.ranked_ids.take(ranks.astype(np.intp))
    except IndexError as error:
        raise ValueError("a rank beyond the table") from error


def _step_starts(
    bodies: Sequence[bytes | memoryview],
) -> tuple[
    UInt8[np.ndarray, " n"],
    UInt64[np.ndarray, " N"],
    UInt64[np.ndarray, " N"],
    Int64[np.ndarray, " rows"],
]:
    """Returns all bodies joined, where each step's bits start and end in them, and steps a body."""
    try:
        heads = np.array([_ROW.unpack_from(body) for body in bodies], np.int64).reshape(-1, 3)
    except struct.error as error:
        raise ValueError(f"a row of less than {_ROW.size} bytes") from error
    steps, shortest, width = heads.T
    sizes = np.array([len(body) for body in bodies], np.int64)
    data = np.frombuffer(b"".join([*bodies, bytes(8)]), np.uint8)  # windows read beyond the end
    first = 8 * (exclusive_cumsum(sizes) + _ROW.size)
    if ((steps * width > 8 * sizes) | (width > 32)).any():
        raise ValueError("more steps than the row has bits")
    at = np.repeat(first, steps) + ranges(steps) * np.repeat(width, steps)
    mask = (np.uint64(1) << np.repeat(width, steps).astype(np.uint64)) - np.uint64(1)
    lengths = (_windows(data, at.astype(np.uint64)) & mask).view(np.int64)
    lengths += np.repeat(shortest, steps)
    inside = exclusive_cumsum(lengths)
    row_firsts = np.minimum(exclusive_cumsum(steps), max(len(inside) - 1, 0))
    row_starts = inside[row_firsts] if len(inside) else np.zeros_like(steps)
    starts = inside + np.repeat(first + steps * width - row_starts, steps)
    ends = starts + lengths
    if (ends > np.repeat(8 * np.cumsum(sizes), steps)).any():
        raise ValueError("a step's bits go beyond the row")
    return data, starts.astype(np.uint64), ends.astype(np.uint64), steps


def _windows(
    data: UInt8[np.ndarray, "n"], bits: UInt64[np.ndarray, "m"]
) -> UInt64[np.ndarray, "m"]:
    """Returns the stream from each position on; the low 57 bits are valid."""
    words = np.ndarray((len(data) - 7,), "<u8", data, strides=(1,))
    found = words[(bits >> np.uint64(3)).view(np.int64)].astype(np.uint64, copy=False)
    found >>= bits & np.uint64(7)
    return found
