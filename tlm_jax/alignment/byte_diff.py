"""Byte ranges of one text that stand in another, which differs from it in a few places."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int64

MAX_EDITS = 128
"""More insertions and deletions than this are not looked for, which bounds the time."""

_RUN = 16


def match_bytes(left: bytes, right: bytes) -> Int64[np.ndarray, " n"]:
    """Returns for each byte of `right` its place in `left`, or -1 where it has none.

    Places ascend. As many bytes are matched as can be, by the shortest list of insertions and
    deletions (Myers 1986); where that needs more than `MAX_EDITS`, only what the texts begin and
    end with in common is matched. Time and memory are linear in the length.
    """
    a, b = np.frombuffer(left, np.uint8), np.frombuffer(right, np.uint8)
    prefix = _common(a, b)
    suffix = _common(a[prefix:][::-1], b[prefix:][::-1])
    matched = np.full(len(b), -1)
    matched[:prefix] = np.arange(prefix)
    matched[len(b) - suffix :] = np.arange(len(a) - suffix, len(a))
    middle = left[prefix : len(left) - suffix], right[prefix : len(right) - suffix]
    if middle[0] and middle[1]:
        for x, y, length in _matching_runs(*middle):
            begin = prefix + y
            matched[begin : begin + length] = np.arange(prefix + x, prefix + x + length)
    return matched


def _common(a: np.ndarray, b: np.ndarray) -> int:
    """Returns how many bytes the two begin with in common."""
    shorter = min(len(a), len(b))
    different = np.flatnonzero(a[:shorter] != b[:shorter])
    return int(different[0]) if len(different) else shorter


def _matching_runs(left: bytes, right: bytes) -> list[tuple[int, int, int]]:
    """Returns what a shortest edit script leaves: places in both texts and a length.

    `reached[k]` is how far into `left` the scripts with d edits come on the diagonal k, which
    is the place in `left` less that in `right`.
    """
    reached = {1: 0}
    history = []
    for edits in range(MAX_EDITS + 1):
        history.append(dict(reached))
        for k in range(-edits, edits + 1, 2):
            x = _step(reached, k, edits)
            y = x - k
            while _same_run(left, x, right, y):
                x, y = x + _RUN, y + _RUN
            while x < len(left) and y < len(right) and left[x] == right[y]:
                x, y = x + 1, y + 1
            reached[k] = x
            if x >= len(left) and y >= len(right):
                return _walk_back(history, len(left), len(right))
    return []


def _same_run(left: bytes, x: int, right: bytes, y: int) -> bool:
    """Whether the next `_RUN` bytes are equal, which is one comparison."""
    run = left[x : x + _RUN]
    return len(run) == _RUN and run == right[y : y + _RUN]


def _step(reached: dict[int, int], k: int, edits: int) -> int:
    """Returns where diagonal `k` is entered: by an insertion from above or a deletion."""
    if k == -edits or (k != edits and reached[k - 1] < reached[k + 1]):
        return reached[k + 1]
    return reached[k - 1] + 1


def _walk_back(history: list[dict[int, int]], x: int, y: int) -> list[tuple[int, int, int]]:
    """Returns the matching runs on the way to (x, y), the last first."""
    runs = []
    for edits in reversed(range(len(history))):
        reached, k = history[edits], x - y
        entered = _step(reached, k, edits)
        if x > entered:
            runs.append((entered, entered - k, x - entered))
        # Diagonal k was entered from k + 1 by an insertion, or from k - 1 by a deletion.
        came_by_insertion = k == -edits or (k != edits and reached[k - 1] < reached[k + 1])
        x, y = (entered, entered - k - 1) if came_by_insertion else (entered - 1, entered - k)
    return runs
