"""Cuts or extends what a model has for every token, where another number of tokens is wanted."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from tlm_jax.lazy import Index, LazyArray, Stored

_AXES = {"token_embedder/embedding": 0, "logits_dense/kernel": 1, "logits_dense/bias": 0}
"""Parameters with an entry for every token, and the axis along which."""


def axis_of(name: str) -> int | None:
    """Returns the axis along which a parameter has an entry for every token, if it has one."""
    return next((axis for end, axis in _AXES.items() if name.endswith(end)), None)


def resized(
    arrays: Mapping[str, LazyArray], rows: int, announce: Callable[[str], object]
) -> dict[str, LazyArray]:
    """Returns the parameters with entries for as many tokens as are wanted.

    New entries are the mean of the present ones, so that no new token is likelier than an average
    one.

    Args:
      arrays: parameters by our names.
      rows: how many tokens.
      announce: is given a line for each parameter that changes.
    """
    result = dict(arrays)
    for name, array in arrays.items():
        axis = axis_of(name)
        if axis is None or array.shape[axis] == rows:
            continue
        given = array.shape[axis]
        verb = "cut" if rows < given else "extended by mean rows"
        announce(f"note: {name} has {given:,} entries for tokens, {verb} to {rows:,}")
        result[name] = _with_entries(array, axis, rows)
    return result


def _with_entries(array: LazyArray, axis: int, rows: int) -> LazyArray:
    given = array.shape[axis]
    shape = (*array.shape[:axis], rows, *array.shape[axis + 1 :])
    mean: list[np.ndarray] = []

    def read(index: Index) -> np.ndarray:
        part = index[axis]
        known = slice(part.start, max(part.start, min(part.stop, given)))
        found = array[(*index[:axis], known, *index[axis + 1 :])]
        missing = part.stop - max(part.start, given)
        if missing <= 0:
            return found
        if not mean:
            mean.append(array.read().astype(np.float32).mean(axis, keepdims=True))
        whole = (slice(None),)
        added = mean[0].astype(array.dtype)[(*index[:axis], *whole, *index[axis + 1 :])]
        return np.concatenate([found, np.repeat(added, missing, axis)], axis)

    return Stored(shape, array.dtype, read)
