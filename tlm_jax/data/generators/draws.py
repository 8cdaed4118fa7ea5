"""Random draws by counter: example i of a generator costs the same for any i, on any machine."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import TypeVar

T = TypeVar("T")

SPLITS = ("train", "validation", "test")
"""Splits of a generator whose content is kept apart by `split_of`."""


class Draws:
    """Independent uniform integers, a pure function of the key.

    Bits come from BLAKE2b in counter mode and are used up by division, so a draw below n is biased
    by less than n / 2^64. Python's own `random` is not used: seeding it for every example costs
    more than making the example, and its sequences are not promised across versions.
    """

    __slots__ = ("_bits", "_block", "_key")

    def __init__(self, *key: object) -> None:
        self._key = repr(key).encode()
        self._block = 0
        self._bits = 0

    def below(self, n: int) -> int:
        """Returns a uniform integer in [0, n)."""
        if self._bits < _FEW_BITS:
            digest = blake2b(self._key, salt=self._block.to_bytes(16, "little")).digest()
            self._bits = int.from_bytes(digest, "little")
            self._block += 1
        self._bits, value = divmod(self._bits, n)
        return value

    def between(self, low: int, high: int) -> int:
        """Returns a uniform integer in [low, high], both included."""
        return low + self.below(high - low + 1)

    def choice(self, items: Sequence[T]) -> T:
        """Returns one of the items."""
        return items[self.below(len(items))]


def split_of(content: object) -> str:
    """Returns the split that this content belongs to: 5 % validation, 5 % test, the rest train.

    It depends on the content alone, never on a seed or a setting, so no content is in two splits
    of any two data sets made by the same generator.
    """
    bucket = blake2b(repr(content).encode(), digest_size=2).digest()[0]
    return "validation" if bucket < 13 else "test" if bucket < 26 else "train"


_FEW_BITS = 1 << 64
