"""What all rows of a shard of sparse steps have in common: ids by frequency, and widths."""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int32

from tlm_jax.teacher_cache.id_ranks import ranked_ids, table_from_bytes, table_to_bytes
from tlm_jax.teacher_cache.sparse_symbols import SparseSymbols

_WIDTHS = struct.Struct("<5B")
_MAX_BYTES = 3

LARGE_GAP = 255
"""Gaps from here on take more than one byte."""


@dataclasses.dataclass(frozen=True)
class SparseCodebook:
    """Ids by frequency, and how many bytes each kind of number needs.

    Attributes:
      max_candidates: C; no step has more.
      ranked_ids: the id of each rank, distinct.
      missing_bytes: of C - count; 0 where it is 0 throughout, as also below.
      place_bytes: of the scored token's place, the count if it is no candidate.
      tail_bytes: of a tail's symbol.
      rank_bytes: of a rank; at least 1.
      large_bytes: of what a gap between levels has beyond `LARGE_GAP`.
    """

    max_candidates: int
    ranked_ids: Int32[np.ndarray, " R"]
    missing_bytes: int
    place_bytes: int
    tail_bytes: int
    rank_bytes: int
    large_bytes: int

    @classmethod
    def of_rows(cls, rows: Sequence[SparseSymbols], max_candidates: int) -> SparseCodebook:
        """Returns the codebook in which `rows` can be written."""
        ranked = ranked_ids(rows)
        largest = (
            max_candidates - min(int(row.counts.min(initial=max_candidates)) for row in rows),
            max(int(row.places().max(initial=0)) for row in rows),
            max(int(row.tails.max(initial=0)) for row in rows),
            max(len(ranked) - 1, 1),
            max(0, *(int(row.gaps().max(initial=0)) - LARGE_GAP for row in rows)),
        )
        return cls(max_candidates, ranked, *(-(-n.bit_length() // 8) for n in largest))

    def to_bytes(self) -> bytes:
        """Returns the codebook as the shard keeps it."""
        widths = (self.missing_bytes, self.place_bytes, self.tail_bytes, self.rank_bytes)
        return _WIDTHS.pack(*widths, self.large_bytes) + table_to_bytes(self.ranked_ids)

    @classmethod
    def from_bytes(cls, data: bytes, max_candidates: int) -> SparseCodebook:
        """Reads `to_bytes`.

        Raises:
          ValueError: not a codebook for that many candidates.
        """
        widths = tuple(data[: _WIDTHS.size])
        if len(widths) != _WIDTHS.size or max(widths) > _MAX_BYTES or not widths[3]:
            raise ValueError(f"no widths of numbers before the table of ranks: {widths}")
        return cls(max_candidates, table_from_bytes(data[_WIDTHS.size :]), *widths)
