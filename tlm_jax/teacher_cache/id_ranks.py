"""Ids of a shard by frequency: a small number stands for each, and a small table for all."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int32, Int64

from tlm_jax.teacher_cache.sparse_symbols import SparseSymbols

_TABLE = struct.Struct("<II")  # ids, bytes of the compressed table
_CLASS = 256


def ranked_ids(rows: Sequence[SparseSymbols]) -> Int32[np.ndarray, " R"]:
    """Returns all ids that occur, most frequent first, 256 at a time; these are ascending.

    A rank's higher bytes say how frequent the id is, its lowest byte which one of 256 it is: their
    order makes the table small.
    """
    counts = np.zeros(0, np.int64)
    for row in rows:
        absent = row.token_ids[row.places() == row.counts]
        found = np.bincount(np.concatenate([row.ids, absent]))
        if len(found) > len(counts):
            counts = np.pad(counts, (0, len(found) - len(counts)))
        counts[: len(found)] += found
    occurring = np.flatnonzero(counts)
    ranked = occurring[np.argsort(-counts[occurring], kind="stable")]
    for start in range(0, len(ranked), _CLASS):
        ranked[start : start + _CLASS].sort()
    return ranked.astype(np.int32)


def ranks_of(ranked: Int32[np.ndarray, " R"]) -> Int64[np.ndarray, " V"]:
    """Returns the rank of each id; 0 for those that do not occur."""
    ranks = np.zeros(int(ranked.max(initial=-1)) + 1, np.int64)
    ranks[ranked] = np.arange(len(ranked))
    return ranks


def table_to_bytes(ranked: Int32[np.ndarray, " R"]) -> bytes:
    """Returns the table as a codebook keeps it: differences of neighbours, byte by byte."""
    deltas = np.diff(ranked, prepend=np.int32(0)).astype("<i4")
    planes = zlib.compress(deltas.view(np.uint8).reshape(-1, 4).T.tobytes(), 9)
    return _TABLE.pack(len(ranked), len(planes)) + planes


def table_from_bytes(data: bytes) -> Int32[np.ndarray, " R"]:
    """Reads `table_to_bytes`.

    Raises:
      ValueError: it is none.
    """
    try:
        count, compressed = _TABLE.unpack_from(data)
        planes = zlib.decompress(data[_TABLE.size :][:compressed])
    except (struct.error, zlib.error) as error:
        raise ValueError(f"no table of ranks: {error}") from error
    if len(planes) != 4 * count or len(data) != _TABLE.size + compressed:
        raise ValueError(f"a table of {count} ranks in {len(planes)} bytes")
    deltas = np.frombuffer(planes, np.uint8).reshape(4, -1).T.copy().view("<i4")[:, 0]
    return np.cumsum(deltas, dtype=np.int32)
