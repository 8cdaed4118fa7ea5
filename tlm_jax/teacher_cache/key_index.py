"""Finds rows of many shards by key or by example."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int, Int64

from tlm_jax.errors import UserError
from tlm_jax.teacher_cache.shard_format import INDEX_DTYPE, KEY_BYTES, example_hash


class KeyIndex:
    """The rows of all shards, sorted by key; each key once.

    Attributes:
      entries: of the shards' indices, sorted by key.
      shards: which shard each entry is of.
      duplicates: rows left out because another has the same key and content.
    """

    def __init__(self, indices: Sequence[np.ndarray], names: Sequence[str]):
        """Joins the indices of shards.

        Args:
          indices: `ShardFile.index` of each.
          names: what to call each shard.

        Raises:
          UserError: two rows have the same key and different content.
        """
        entries = np.concatenate([np.zeros(0, INDEX_DTYPE), *indices])
        sizes = np.array([len(index) for index in indices], np.int64)
        shards = np.repeat(np.arange(len(indices)), sizes)
        high, low = (entries[name].astype(np.uint64) for name in ("key_high", "key_low"))
        order = np.lexsort((low, high))
        high, low, entries, shards = high[order], low[order], entries[order], shards[order]
        again = np.zeros(len(entries), bool)
        again[1:] = (high[1:] == high[:-1]) & (low[1:] == low[:-1])
        for place in np.flatnonzero(again).tolist():
            if entries["digest"][place] != entries["digest"][place - 1]:
                raise UserError(
                    f"the key {key_of(entries[place])} stands for different rows in "
                    f"{names[shards[place - 1]]} and {names[shards[place]]}: the text was scored "
                    "twice with different results; keep one of the two."
                )
        self.entries, self.shards = entries[~again], shards[~again]
        self.duplicates = int(again.sum())
        self._high, self._low = high[~again], low[~again]
        self._by_example = np.argsort(self.entries["example"], kind="stable")

    def __len__(self) -> int:
        return len(self.entries)

    def find(self, keys: Sequence[str]) -> Int64[np.ndarray, " n"]:
        """Returns the place of each key, -1 where there is none."""
        joined = np.frombuffer(b"".join(map(key_bytes, keys)), ">u8")
        wanted = joined.astype(np.uint64).reshape(-1, 2)
        high, low = wanted.T
        places = np.full(len(wanted), -1, np.int64)
        candidates = np.searchsorted(self._high, high)
        # The upper halves of two keys agree once in 2^64: this loop runs once.
        searching = np.arange(len(wanted))
        while searching.size:
            at = candidates[searching]
            inside = at < len(self._high)
            searching, at = searching[inside], at[inside]
            same = self._high[at] == high[searching]
            searching, at = searching[same], at[same]
            found = self._low[at] == low[searching]
            places[searching[found]] = at[found]
            searching = searching[~found]
            candidates[searching] += 1
        return places

    def of_example(self, example_id: str) -> Int[np.ndarray, " n"]:
        """Returns the places of the rows that were scored for an example."""
        hashes = self.entries["example"][self._by_example]
        wanted = np.uint64(example_hash(example_id))
        start, stop = (np.searchsorted(hashes, wanted, side) for side in ("left", "right"))
        return np.sort(self._by_example[start:stop])


def key_of(entry: np.void) -> str:
    """Returns the key of an entry as 32 hex digits."""
    return f"{int(entry['key_high']):016x}{int(entry['key_low']):016x}"


def key_bytes(key: str) -> bytes:
    """Returns the 16 bytes of a key.

    Raises:
      UserError: not 32 hex digits.
    """
    try:
        found = bytes.fromhex(key)
        if len(key) == 2 * len(found) == 2 * KEY_BYTES:
            return found
    except ValueError:
        pass
    raise UserError(f"{key!r} is no key of a row: expected 32 hex digits, as content_key gives.")
