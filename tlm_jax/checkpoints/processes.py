"""Lets the processes of one run agree on what they read from a shared file system."""

from __future__ import annotations

import json
from typing import Any

import jax
import numpy as np


def gather(value: Any) -> list[Any]:
    """Returns every process's `value` (JSON-able), by process index, on every process.

    A collective: every process must call it, from its main thread, in the same order.
    """
    if jax.process_count() == 1:
        return [value]
    from jax.experimental import multihost_utils

    written = np.frombuffer(json.dumps(value).encode(), np.uint8)
    lengths = np.ravel(multihost_utils.process_allgather(np.array([written.size], np.int32)))
    padded = np.zeros(int(lengths.max()), np.uint8)
    padded[: written.size] = written
    rows = np.reshape(multihost_utils.process_allgather(padded), (jax.process_count(), -1))
    return [json.loads(rows[i, :length].tobytes()) for i, length in enumerate(lengths)]


def is_primary() -> bool:
    """Whether this process is the one that writes what is written once."""
    return jax.process_index() == 0
