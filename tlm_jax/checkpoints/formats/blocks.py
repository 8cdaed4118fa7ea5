"""Copies arrays block by block, and refuses values that are not finite on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from tlm_jax.errors import UserError
from tlm_jax.lazy import Index, LazyArray, blocks

BLOCK_BYTES = 16 << 20
"""Of a part that is read, checked and written at a time, at most."""
CHUNK_BYTES = 32 << 20
"""Of a chunk that is stored as one, at most."""
Written = Callable[[int], None]
"""Is told how many bytes have been written more."""


def copy_blocks(
    name: str,
    array: LazyArray,
    write: Callable[[str, Index, np.ndarray], None],
    written: Written,
    indices: Iterable[Index] | None = None,
) -> None:
    """Reads an array in blocks and hands each to `write`.

    Args:
      name: of the array.
      array: where it comes from.
      write: `write(name, index, block)`.
      written: is told of every block.
      indices: the blocks; by default runs along the first axis of at most BLOCK_BYTES.

    Raises:
      UserError: a value is not finite.
    """
    for index in blocks(array, BLOCK_BYTES) if indices is None else indices:
        block = array[index]
        check_finite(name, block)
        write(name, index, block)
        written(block.nbytes)


def check_finite(name: str, block: np.ndarray) -> None:
    """Refuses parameters with NaN or infinite values.

    Raises:
      UserError: naming the parameter.
    """
    if block.dtype.kind not in "iub" and not np.isfinite(block).all():
        bad = int(block.size - np.isfinite(block).sum())
        raise UserError(
            f"parameter {name!r} holds {bad:,} values that are NaN or infinite; the checkpoint is "
            "damaged, or its training had failed"
        )
