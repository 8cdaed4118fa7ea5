"""Reads and writes codes of different lengths in a stream of bits, many at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int64, UInt8, UInt64

from tlm_jax.ragged import exclusive_cumsum

WINDOW_BITS = 57
"""Bits of a window that are valid wherever it starts; also the longest code."""


def pack(codes: UInt64[np.ndarray, "n"], lengths: Int64[np.ndarray, "n"]) -> UInt8[np.ndarray, "m"]:
    """Puts codes one after another, each from its lowest bit up; returns whole bytes.

    Bit i of the stream is bit i % 8 of byte i // 8; the bits after the last code are 0.

    Args:
      codes: no bits above the code's length.
      lengths: 0 to `WINDOW_BITS`.
    """
    starts = exclusive_cumsum(lengths)
    total = int(lengths.sum())
    words = np.zeros(total // 64 + 2, np.uint64)
    if len(codes):
        place, shift = starts >> 6, (starts & 63).astype(np.uint64)
        # A code lies in one word or two; codes of a word are neighbours, so they join by runs.
        _join(words, place, codes << shift)
        # A shift by 64 would be undefined: two shifts.
        _join(words, place + 1, (codes >> np.uint64(1)) >> (np.uint64(63) - shift))
    return words.astype("<u8").view(np.uint8)[: (total + 7) // 8]


def padded(parts: Sequence[bytes | memoryview]) -> UInt8[np.ndarray, "n"]:
    """Joins buffers for `windows`, which may read a little beyond the end."""
    return np.frombuffer(b"".join([*parts, bytes(8)]), np.uint8)


def windows(data: UInt8[np.ndarray, "n"], bits: UInt64[np.ndarray, "m"]) -> UInt64[np.ndarray, "m"]:
    """Returns the stream from each position on; the low `WINDOW_BITS` bits are valid."""
    words = np.ndarray((len(data) - 7,), "<u8", data, strides=(1,))
    found = words[(bits >> np.uint64(3)).view(np.int64)].astype(np.uint64, copy=False)
    found >>= bits & np.uint64(7)
    return found


def _join(
    words: UInt64[np.ndarray, "w"], place: Int64[np.ndarray, "n"], bits: UInt64[np.ndarray, "n"]
) -> None:
    firsts = np.flatnonzero(np.diff(place, prepend=-1))
    words[place[firsts]] |= np.bitwise_or.reduceat(bits, firsts)
