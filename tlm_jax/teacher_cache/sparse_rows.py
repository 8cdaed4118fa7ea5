"""Turns the symbols of sparse steps into bits and back, many steps at once.

A step's bits are, each by its own code of the shard's codebook:

    C - count | place of the scored token | its rank, if it is no candidate
    | rank of id, gap of level | ... one pair a candidate ... | tail, if the count is not 0

Decoding goes column by column, all steps of a chunk together, so each step's number of bits stands
before the steps.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int32, Int64, Integer, UInt8, UInt64

from tlm_jax.ragged import exclusive_cumsum, ranges
from tlm_jax.teacher_cache.bit_stream import pack, padded, windows
from tlm_jax.teacher_cache.sparse_codebook import SparseCodebook, context_of, groups, rank, ranks_of
from tlm_jax.teacher_cache.sparse_symbols import DecodedSymbols, SparseSymbols

_ROW = struct.Struct("<IIB")  # steps, bits of the shortest step, bits of each further length
_CHUNK_STEPS = 8192


def encode(book: SparseCodebook, rows: Sequence[SparseSymbols]) -> list[bytes]:
    """Returns the body of each row."""
    rank_of = ranks_of(book.ranked_ids)
    bodies: list[bytes] = []
    for group in groups(rows):
        codes, lengths = _items(book, SparseSymbols.concatenate(group), rank_of)
        start = 0
        for row in group:
            stop = start + 3 * len(row.counts) + len(row.ids)
            bodies.append(_body(codes[start:stop], lengths[start:stop], row.counts))
            start = stop
    return bodies


def decode(
    book: SparseCodebook, bodies: Sequence[bytes | memoryview]
) -> tuple[DecodedSymbols, Int64[np.ndarray, " rows"]]:
    """Returns the steps of all bodies one after another, and the number of steps of each.

    Raises:
      ValueError: a body does not fit the codebook.
    """
    data, starts, ends, steps = _step_starts(bodies)
    total = len(starts)
    tokens, counts, tails = (np.zeros(total, np.int32) for _ in range(3))
    ids, levels = (np.zeros((total, book.max_candidates), np.int32) for _ in range(2))
    out = DecodedSymbols(tokens, counts, ids, levels, tails)
    for first in range(0, total, _CHUNK_STEPS):
        chunk = slice(first, first + _CHUNK_STEPS)
        stops = _decode_chunk(book, data, starts[chunk], out, chunk)
        if not np.array_equal(stops, ends[chunk]):
            raise ValueError("the steps' bits do not end where they should")
    return out, steps


def _items(
    book: SparseCodebook, steps: SparseSymbols, rank_of: Int64[np.ndarray, " V"]
) -> tuple[UInt64[np.ndarray, " m"], Int64[np.ndarray, " m"]]:
    """Returns the codes of all steps in order: 3 + count items a step, some without bits."""
    counts = steps.counts.astype(np.int64)
    heads = exclusive_cumsum(counts + 3)
    codes = np.zeros(3 * len(counts) + len(steps.ids), np.uint64)
    lengths = np.zeros(len(codes), np.int64)

    def put(at, first, second=None):
        codes[at], lengths[at] = first
        if second is not None:
            codes[at] |= second[0] << first[1].astype(np.uint64)
            lengths[at] += second[1]

    places = steps.places()
    put(heads, book.missing.encode(book.max_candidates - counts), book.place.encode(places))
    absent = places == counts
    put(heads[absent] + 1, book.absent.encode(rank(steps.token_ids[absent], rank_of)))
    columns, ranks, gaps = steps.columns(), rank(steps.ids, rank_of), steps.gaps()
    contexts = context_of(columns)
    at = np.repeat(heads + 2, counts) + columns
    for context in np.unique(contexts).tolist():
        here = contexts == context
        ids, levels = book.ids[context], book.gaps[context]
        put(at[here], ids.encode(ranks[here]), levels.encode(gaps[here]))
    kept = counts > 0
    put((heads + 2 + counts)[kept], book.tail.encode(steps.tails[kept].astype(np.int64)))
    return codes, lengths


def _decode_chunk(
    book: SparseCodebook,
    data: UInt8[np.ndarray, " n"],
    starts: UInt64[np.ndarray, " N"],
    out: DecodedSymbols,
    chunk: slice,
) -> UInt64[np.ndarray, " N"]:
    """Fills rows `chunk` of `out`; returns where the bits of each step stop."""
    window = windows(data, starts)
    missing, used = book.missing.decode(window)
    places, more = book.place.decode(window >> used)
    at = starts + used + more
    counts, places = book.max_candidates - missing.view(np.int64), places.view(np.int64)
    if counts.min(initial=0) < 0 or (places > counts).any():
        raise ValueError("a step of fewer than no candidates")
    absent = np.flatnonzero(places == counts)
    absent_ranks, more = book.absent.decode(windows(data, at[absent]))
    at[absent] += more
    ranks, levels = _decode_pairs(book, data, at, counts)
    kept = np.flatnonzero(counts)
    tails, more = book.tail.decode(windows(data, at[kept]))
    at[kept] += more
    ids = _ids(book, ranks)
    if not book.missing.constant_zero:
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
    book: SparseCodebook,
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
        window = windows(data, here)
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


def _ids(book: SparseCodebook, ranks: Integer[np.ndarray, "..."]) -> Int32[np.ndarray, "..."]:
    if not len(book.ranked_ids):
        return ranks.astype(np.int32)
    try:
        return book.ranked_ids.take(ranks.astype(np.intp))
    except IndexError as error:
        raise ValueError("a rank beyond the table") from error


def _body(
    codes: UInt64[np.ndarray, " m"],
    lengths: Int64[np.ndarray, " m"],
    counts: Int32[np.ndarray, " T"],
) -> bytes:
    """Returns a row: how many steps, the bits of each, the steps."""
    if not len(counts):
        return _ROW.pack(0, 0, 0)
    step_bits = np.add.reduceat(lengths, exclusive_cumsum(counts.astype(np.int64) + 3))
    shortest = int(step_bits.min())
    further = step_bits - shortest
    width = int(further.max()).bit_length()
    items = np.concatenate([further.astype(np.uint64), codes])
    bits = pack(items, np.concatenate([np.full(len(counts), width, np.int64), lengths]))
    return _ROW.pack(len(counts), shortest, width) + bits.tobytes()


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
    data = padded(bodies)
    first = 8 * (exclusive_cumsum(sizes) + _ROW.size)
    if ((steps * width > 8 * sizes) | (width > 32)).any():
        raise ValueError("more steps than the row has bits")
    at = np.repeat(first, steps) + ranges(steps) * np.repeat(width, steps)
    mask = (np.uint64(1) << np.repeat(width, steps).astype(np.uint64)) - np.uint64(1)
    lengths = (windows(data, at.astype(np.uint64)) & mask).view(np.int64)
    lengths += np.repeat(shortest, steps)
    inside = exclusive_cumsum(lengths)
    row_firsts = np.minimum(exclusive_cumsum(steps), max(len(inside) - 1, 0))
    row_starts = inside[row_firsts] if len(inside) else np.zeros_like(steps)
    starts = inside + np.repeat(first + steps * width - row_starts, steps)
    ends = starts + lengths
    if (ends > np.repeat(8 * np.cumsum(sizes), steps)).any():
        raise ValueError("a step's bits go beyond the row")
    return data, starts.astype(np.uint64), ends.astype(np.uint64), steps
