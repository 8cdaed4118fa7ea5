"""Rows of the global batch that this host feeds, and the sharded arrays made of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import jax
import numpy as np
from jax.sharding import NamedSharding

from tlm_jax.errors import UserError


@dataclass(frozen=True)
class HostRows:
    """This host's share of every batch: block `index` of `count` equal blocks of rows.

    Hosts that hold replicas of the same rows (a tensor axis across hosts) share an index.
    """

    index: int
    count: int


def check_batch_size(batch_size: int, row_devices: int, micro_batches: int) -> None:
    """Checks that rows spread evenly over devices and micro-batches.

    Raises:
      UserError: with both numbers and the nearest sizes that work.
    """
    unit = row_devices * micro_batches
    if batch_size % unit:
        lower, upper = batch_size // unit * unit, -(-batch_size // unit) * unit
        nearest = f"{upper}" if lower == 0 else f"{lower} or {upper}"
        raise UserError(
            f"BATCH_SIZE {batch_size} does not divide by {unit} = {row_devices} devices of the "
            f"data and fsdp axes x {micro_batches} micro-batches; use {nearest}"
        )


def host_rows(batch_size: int, sharding: NamedSharding) -> HostRows:
    """Returns which block of rows this process must supply under `sharding`."""
    slices = sharding.addressable_devices_indices_map((batch_size,)).values()
    bounds = sorted({(s[0].start or 0, s[0].stop or batch_size) for s in slices if s is not None})
    start, stop = bounds[0][0], bounds[-1][1]
    size = stop - start
    if sum(b - a for a, b in bounds) != size or batch_size % size or start % size:
        raise UserError(
            "the devices of this host hold rows that are not one block of the batch; "
            "make the data axis the outermost of the mesh"
        )
    return HostRows(start // size, batch_size // size)


def to_global(
    arrays: Mapping[str, np.ndarray], sharding: NamedSharding, rows: HostRows
) -> dict[str, jax.Array]:
    """Turns host-local rows `[B/count, ...]` into global arrays `[B, ...]` sharded by row."""
    return {
        name: jax.make_array_from_process_local_data(
            sharding, value, (value.shape[0] * rows.count, *value.shape[1:])
        )
        for name, value in arrays.items()
    }
