"""Fits the codes that make the sparse steps of one shard small."""

from __future__ import annotations

import dataclasses
import struct
import zlib
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Int, Int32, Int64

from tlm_jax.teacher_cache.prefix_codes import MAX_CLASS, TABLE_BYTES, LengthCode, classes_of
from tlm_jax.teacher_cache.sparse_symbols import SparseSymbols

MAX_NUMBER = (1 << MAX_CLASS) - 2
"""Of ids and levels; so a pair's code has at most 2 * (8 + 19) bits and fits in a window."""

_RANKS = struct.Struct("<II")  # ids, bytes of the compressed table
_GROUP_CANDIDATES = 1 << 18


@dataclasses.dataclass(frozen=True)
class SparseCodebook:
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
    def of_rows(cls, rows: Sequence[SparseSymbols], max_candidates: int) -> SparseCodebook:
        """Returns the codes that make `rows` small."""
        ranked = _by_frequency(rows)
        by_rank, by_id = (
            _Counts.of_rows(rows, max_candidates, ranks_of(table)) for table in (ranked, ranked[:0])
        )
        plain = cls._of_counts(max_candidates, ranked[:0], by_id)
        fitted = cls._of_counts(max_candidates, ranked, by_rank)
        table_bits = 8 * (len(fitted.to_bytes()) - len(plain.to_bytes()))
        return fitted if fitted._cost(by_rank) + table_bits < plain._cost(by_id) else plain

    @classmethod
    def _of_counts(
        cls, max_candidates: int, ranked: Int32[np.ndarray, " R"], counts: _Counts
    ) -> SparseCodebook:
        missing, place, absent, tail = map(LengthCode.of_counts, counts.single)
        ids, gaps = (tuple(map(LengthCode.of_counts, table)) for table in (counts.ids, counts.gaps))
        return cls(max_candidates, ranked, missing, place, absent, tail, ids, gaps)

    def _codes(self) -> tuple[LengthCode, ...]:
        return (self.missing, self.place, self.absent, self.tail, *self.ids, *self.gaps)

    def _cost(self, counts: _Counts) -> int:
        tables = np.concatenate([counts.single, counts.ids, counts.gaps])
        return sum(code.cost(row) for code, row in zip(self._codes(), tables))

    def to_bytes(self) -> bytes:
        """Returns the codebook as the shard keeps it."""
        codes = b"".join(code.to_bytes() for code in self._codes())
        deltas = np.diff(self.ranked_ids, prepend=np.int32(0)).astype("<i4")
        planes = deltas.view(np.uint8).reshape(-1, 4).T.tobytes()
        ranks = zlib.compress(planes, 9)
        return codes + _RANKS.pack(len(self.ranked_ids), len(ranks)) + ranks

    @classmethod
    def from_bytes(cls, data: bytes, max_candidates: int) -> SparseCodebook:
        """Reads `to_bytes`.

        Raises:
          ValueError: not a codebook for that many candidates.
        """
        contexts = num_contexts(max_candidates)
        size = (4 + 2 * contexts) * TABLE_BYTES
        codes = [
            LengthCode.from_bytes(data[at : at + TABLE_BYTES]) for at in range(0, size, TABLE_BYTES)
        ]
        try:
            count, compressed = _RANKS.unpack_from(data, size)
            planes = zlib.decompress(data[size + _RANKS.size :][:compressed])
        except (struct.error, zlib.error) as error:
            raise ValueError(f"no table of ranks: {error}") from error
        if len(planes) != 4 * count or len(data) != size + _RANKS.size + compressed:
            raise ValueError(f"a table of {count} ranks in {len(planes)} bytes")
        deltas = np.frombuffer(planes, np.uint8).reshape(4, -1).T.copy().view("<i4")[:, 0]
        ranked = np.cumsum(deltas, dtype=np.int32)
        missing, place, absent, tail, *pairs = codes
        ids, gaps = tuple(pairs[:contexts]), tuple(pairs[contexts:])
        return cls(max_candidates, ranked, missing, place, absent, tail, ids, gaps)


@dataclasses.dataclass(frozen=True)
class _Counts:
    """How often each class of numbers occurs, for every code."""

    single: Int64[np.ndarray, "4 K"]
    ids: Int64[np.ndarray, "contexts K"]
    gaps: Int64[np.ndarray, "contexts K"]

    @classmethod
    def of_rows(
        cls, rows: Sequence[SparseSymbols], max_candidates: int, rank_of: Int[np.ndarray, " V"]
    ) -> _Counts:
        contexts = num_contexts(max_candidates)
        counts = cls(*(np.zeros((n, MAX_CLASS + 1), np.int64) for n in (4, contexts, contexts)))
        for group in groups(rows):
            steps = SparseSymbols.concatenate(group)
            places = steps.places()
            absent = places == steps.counts
            single = (
                max_candidates - steps.counts,
                places,
                rank(steps.token_ids[absent], rank_of),
                steps.tails[steps.counts > 0],
            )
            for row, numbers in zip(counts.single, single):
                row += np.bincount(classes_of(numbers), minlength=MAX_CLASS + 1)
            context = context_of(steps.columns())
            for table, numbers in (
                (counts.ids, rank(steps.ids, rank_of)),
                (counts.gaps, steps.gaps()),
            ):
                flat = context * (MAX_CLASS + 1) + classes_of(numbers)
                table += np.bincount(flat, minlength=table.size).reshape(table.shape)
        return counts


def num_contexts(max_candidates: int) -> int:
    """Returns how many contexts columns 0 to C - 1 have."""
    return (max_candidates - 1).bit_length() + 1


def context_of(columns: Int64[np.ndarray, " n"]) -> Int64[np.ndarray, " n"]:
    """Returns the number of bits of each column."""
    return np.frexp(columns.astype(np.float64))[1].astype(np.int64)


def groups(rows: Sequence[SparseSymbols]) -> Iterator[Sequence[SparseSymbols]]:
    """Cuts rows into runs small enough that temporary arrays stay small."""
    start, size = 0, 0
    for stop, row in enumerate(rows, 1):
        size += len(row.ids) + len(row.counts)
        if size >= _GROUP_CANDIDATES or stop == len(rows):
            yield rows[start:stop]
            start, size = stop, 0


def _by_frequency(rows: Sequence[SparseSymbols]) -> Int32[np.ndarray, " R"]:
    """Returns all ids that occur, most frequent first; ascending where codes are equally long."""
    seen = np.zeros(0, np.int64)
    for group in groups(rows):
        steps = SparseSymbols.concatenate(group)
        absent = steps.token_ids[steps.places() == steps.counts]
        found = np.bincount(np.concatenate([steps.ids, absent]), minlength=len(seen))
        found[: len(seen)] += seen
        seen = found
    occurring = np.flatnonzero(seen)
    ranked = occurring[np.argsort(-seen[occurring], kind="stable")]
    for k in range(len(ranked).bit_length()):
        ranked[(1 << k) - 1 : (2 << k) - 1].sort()
    return ranked.astype(np.int32)


def ranks_of(ranked: Int32[np.ndarray, " R"]) -> Int64[np.ndarray, " V"]:
    """Returns the rank of each id; empty where ranks are the ids themselves."""
    ranks = np.zeros(int(ranked.max(initial=-1)) + 1, np.int64)
    ranks[ranked] = np.arange(len(ranked))
    return ranks


def rank(ids: Int32[np.ndarray, " n"], rank_of: Int64[np.ndarray, " V"]) -> Int64[np.ndarray, " n"]:
    return rank_of[ids] if len(rank_of) else ids.astype(np.int64)
