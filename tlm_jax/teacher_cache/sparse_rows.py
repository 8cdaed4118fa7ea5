"""Turns the symbols of sparse steps into bytes and back, the steps of many rows at once.

The body of a row of T steps, n candidates in all, a scored tokens that are no candidates:

    T, a, n | low bytes of the candidates' ranks | a stream of Deflate, which holds
    C - counts [T] | places of the scored tokens [T] | tails [T]
    | ranks of scored tokens that are no candidates [a] | higher bytes of ranks [n]
    | gaps of levels, 255 for those from there on [n] | what each of these has beyond 255

Numbers have the widths of the shard's codebook, and stand as planes: the lowest byte of all, then
the next byte of all. Low bytes of ranks would hardly become smaller; left out of the stream, they
need not be decoded.
"""

from __future__ import annotations

import itertools
import struct
import zlib
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Int, Int32, Int64, Shaped

from tlm_jax.teacher_cache.id_ranks import ranks_of
from tlm_jax.teacher_cache.sparse_codebook import LARGE_GAP, SparseCodebook
from tlm_jax.teacher_cache.sparse_symbols import DecodedSymbols, SparseSymbols

_HEAD = struct.Struct("<III")
_LEVEL = 6
_RAW_DEFLATE = -zlib.MAX_WBITS
_MAX_RATIO = 1032  # of Deflate

_GROUP_CANDIDATES = 1 << 16
"""As many are decoded together: few calls, and arrays that stay in the processor's caches."""


def encode(book: SparseCodebook, rows: Sequence[SparseSymbols]) -> list[bytes]:
    """Returns the body of each row."""
    rank_of = ranks_of(book.ranked_ids)
    return [_body(book, row, rank_of) for row in rows]


def decode(
    book: SparseCodebook, bodies: Sequence[bytes | memoryview]
) -> tuple[DecodedSymbols, Int64[np.ndarray, " rows"]]:
    """Returns the steps of all bodies one after another, and the number of steps of each.

    Raises:
      ValueError: a body does not fit the codebook.
    """
    heads = _heads(book, bodies)
    total = int(heads[:, 0].sum())
    tokens, counts, tails = (np.zeros(total, np.int32) for _ in range(3))
    ids, levels = (np.zeros((total, book.max_candidates), np.int32) for _ in range(2))
    out = DecodedSymbols(tokens, counts, ids, levels, tails)
    first = 0
    for rows in _groups(heads[:, 0] * book.max_candidates):
        stop = first + int(heads[rows, 0].sum())
        _decode_group(book, bodies[rows], heads[rows], out, slice(first, stop))
        first = stop
    return out, heads[:, 0]


def _body(book: SparseCodebook, row: SparseSymbols, rank_of: Int64[np.ndarray, " V"]) -> bytes:
    places = row.places()
    absent = row.token_ids[places == row.counts]
    low, *higher = _planes(rank_of[row.ids], book.rank_bytes)
    gaps = row.gaps()
    planes = (
        *_planes(book.max_candidates - row.counts, book.missing_bytes),
        *_planes(places, book.place_bytes),
        *_planes(row.tails, book.tail_bytes),
        *_planes(rank_of[absent], book.rank_bytes),
        *higher,
        *_planes(np.minimum(gaps, LARGE_GAP), 1),
        *_planes(gaps[gaps >= LARGE_GAP] - LARGE_GAP, book.large_bytes),
    )
    head = _HEAD.pack(len(row.counts), len(absent), len(row.ids))
    return head + low + zlib.compress(b"".join(planes), _LEVEL, _RAW_DEFLATE)


def _planes(numbers: Int[np.ndarray, " n"], width: int) -> list[bytes]:
    by_byte = numbers.astype("<u4").view(np.uint8).reshape(-1, 4).T
    return [plane.tobytes() for plane in by_byte[:width]]


def _heads(
    book: SparseCodebook, bodies: Sequence[bytes | memoryview]
) -> Int64[np.ndarray, "rows 3"]:
    """Returns T, a and n of each body."""
    try:
        heads = np.array([_HEAD.unpack_from(body) for body in bodies], np.int64).reshape(-1, 3)
    except struct.error as error:
        raise ValueError(f"a row of less than {_HEAD.size} bytes") from error
    steps, absent, candidates = heads.T
    streams = np.array([len(body) for body in bodies], np.int64) - _HEAD.size - candidates
    most = _MAX_RATIO * streams
    if ((streams < 1) | (steps > most) | (absent > most)).any():
        raise ValueError("more steps than the row has bytes")
    return heads


def _groups(sizes: Int64[np.ndarray, " rows"]) -> Iterator[slice]:
    """Cuts rows into runs small enough that temporary arrays stay small."""
    start, size = 0, 0
    for stop, more in enumerate(sizes.tolist(), 1):
        size += more
        if size >= _GROUP_CANDIDATES or stop == len(sizes):
            yield slice(start, stop)
            start, size = stop, 0


def _decode_group(
    book: SparseCodebook,
    bodies: Sequence[bytes | memoryview],
    heads: Int64[np.ndarray, "rows 3"],
    out: DecodedSymbols,
    here: slice,
) -> None:
    """Fills steps `here` of `out`."""
    low, planes = _joined_planes(book, bodies, heads)
    ids, levels = out.ids[here], out.levels[here]
    missing = _numbers(planes, book.missing_bytes, len(ids))
    places = _numbers(planes, book.place_bytes, len(ids))
    out.tails[here] = _numbers(planes, book.tail_bytes, len(ids))
    absent = _numbers(planes, book.rank_bytes)
    ranks = _numbers(itertools.chain((low,), planes), book.rank_bytes)
    gaps = _numbers(planes, 1)
    large = np.flatnonzero(gaps == LARGE_GAP)
    beyond = _numbers(planes, book.large_bytes, len(large))
    if len(beyond) != len(large):
        raise ValueError("more or fewer large gaps than it says")
    gaps[large] += beyond
    counts = book.max_candidates - missing
    elsewhere = places == counts
    if counts.min(initial=0) < 0 or (places > counts).any():
        raise ValueError("a step of fewer than no candidates")
    stops = np.cumsum(heads[:, 0])
    for numbers, expected in ((elsewhere, heads[:, 1]), (counts, heads[:, 2])):
        sums = np.concatenate([[0], np.cumsum(numbers)])
        if not np.array_equal(sums[stops], np.cumsum(expected)):
            raise ValueError("a row of more or fewer candidates than it says")
    if len(ranks) == ids.size:
        ids[:] = _ids(book, ranks).reshape(ids.shape)
        levels[:] = gaps.reshape(ids.shape)
        _add_columns(levels)
    else:
        present = np.arange(book.max_candidates) < counts[:, None]
        ids[present] = _ids(book, ranks)
        levels[present] = gaps
        _add_columns(levels[:, : counts.max(initial=0)])
        levels *= present
    out.counts[here] = counts
    # Most scored tokens are the most probable candidate.
    tokens = out.token_ids[here]
    tokens[:] = ids[:, 0]
    others = np.flatnonzero(places)
    tokens[others] = ids[others, np.minimum(places[others], book.max_candidates - 1)]
    tokens[elsewhere] = _ids(book, absent)


def _joined_planes(
    book: SparseCodebook,
    bodies: Sequence[bytes | memoryview],
    heads: Int64[np.ndarray, "rows 3"],
) -> tuple[Shaped[np.ndarray, " n"], Iterator[Shaped[np.ndarray, " m"]]]:
    """Returns the low bytes of all rows' ranks, and each plane of all rows joined."""
    of_steps = book.missing_bytes + book.place_bytes + book.tail_bytes
    kinds = np.repeat([0, 1, 2], [of_steps, book.rank_bytes, book.rank_bytes])
    lows, parts = [], []
    for body, candidates, ends in zip(
        bodies, heads[:, 2].tolist(), np.cumsum(heads[:, kinds], axis=1).tolist()
    ):
        stream = _HEAD.size + candidates
        lows.append(body[_HEAD.size : stream])
        data = _inflated(body[stream:], ends[-1])
        # How many large gaps there are, only the stream's length tells.
        large = (len(data) - ends[-1]) // max(book.large_bytes, 1)
        ends += [ends[-1] + large * place for place in range(1, book.large_bytes + 1)]
        if ends[-1] != len(data):
            raise ValueError(f"a stream of {len(data):,} bytes where {ends[-1]:,} are expected")
        parts.append([data[start:stop] for start, stop in zip([0, *ends], ends)])
    return _joined(lows), map(_joined, zip(*parts))


def _inflated(stream: bytes | memoryview, least: int) -> bytes:
    try:
        # Room for a few large gaps, so that no second buffer is needed.
        data = zlib.decompress(stream, _RAW_DEFLATE, least + 256)
    except zlib.error as error:
        raise ValueError(f"its bytes are no stream of Deflate ({error})") from error
    if len(data) < least:
        raise ValueError(f"a stream of {len(data):,} bytes where {least:,} are expected")
    return data


def _joined(parts: Sequence[bytes | memoryview]) -> Shaped[np.ndarray, " n"]:
    return np.frombuffer(b"".join(parts), np.uint8)


def _numbers(
    planes: Iterator[Shaped[np.ndarray, " n"]], width: int, count: int = 0
) -> Int32[np.ndarray, " n"]:
    """Returns the numbers whose bytes are the next `width` planes; `count` zeros if that is 0."""
    numbers = next(planes).astype(np.int32) if width else np.zeros(count, np.int32)
    for place in range(1, width):
        numbers |= next(planes).astype(np.int32) << np.int32(8 * place)
    return numbers


def _add_columns(levels: Int32[np.ndarray, "N c"]) -> None:
    """Adds up each row; several times faster than a cumulative sum along it."""
    for before, column in itertools.pairwise(levels.T):
        column += before


def _ids(book: SparseCodebook, ranks: Int32[np.ndarray, " n"]) -> Int32[np.ndarray, " n"]:
    try:
        return book.ranked_ids.take(ranks)
    except IndexError as error:
        raise ValueError("a rank beyond the table") from error
