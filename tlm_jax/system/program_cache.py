"""Compiled programs that runs of one process share, by what decides them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


class ProgramCache:
    """Keeps what was compiled for as long as it lives itself.

    Whoever starts several runs in one process passes the same one to each, and a run that needs the
    program of an earlier one compiles nothing. A run alone has its own, and nothing outlives it.

    A key is a tuple of all that decides a program. Keys are compared by `==`, so that dataclasses
    count by their fields and whatever else a user's configuration holds by identity; there are
    few of them.
    """

    def __init__(self) -> None:
        self._entries: list[tuple[tuple[Any, ...], Any]] = []

    def get(self, key: tuple[Any, ...], make: Callable[[], T]) -> T:
        """Returns what `make` gave for an equal key; calls it the first time only."""
        for known, value in self._entries:
            if known == key:
                return value
        value = make()
        self._entries.append((key, value))
        return value
