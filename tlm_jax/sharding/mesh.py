"""Arranges devices as a mesh of data × fsdp × tensor."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tlm_jax.errors import UserError

if TYPE_CHECKING:
    from jax import Device
    from jax.sharding import Mesh
else:
    # Configurations name a MeshShape; one that asks a server needs no JAX for that.
    Device = Mesh = Any

MESH_AXES = ("data", "fsdp", "tensor")


@dataclasses.dataclass(frozen=True)
class MeshShape:
    """How many ways each kind of partitioning splits the devices.

    Attributes:
      data: copies of the model; each works on its own rows. -1 takes the devices left over by the
        other two.
      fsdp: ways in which parameters, gradients and optimizer state are split along with the rows,
        and gathered layer by layer when used (ZeRO stage 3).
      tensor: ways in which heads, MLP width and vocabulary are split within a layer.
    """

    data: int = -1
    fsdp: int = 1
    tensor: int = 1

    def __post_init__(self) -> None:
        for name in ("fsdp", "tensor"):
            size = getattr(self, name)
            if size < 1:
                raise UserError(f"MeshShape.{name} is {size}; it must be at least 1.")
        if self.data < 1 and self.data != -1:
            raise UserError(
                f"MeshShape.data is {self.data}; it must be at least 1, or -1 for all the devices "
                "that fsdp and tensor leave."
            )


def make_mesh(shape: MeshShape, devices: Sequence[Device] | None = None) -> Mesh:
    """Returns a mesh with axes `data`, `fsdp`, `tensor`, tensor varying fastest.

    Args:
      shape: sizes of the axes.
      devices: what to arrange; by default all devices of all processes. May be those of an
        ahead-of-time compilation target. On TPU the arrangement follows the torus, so that
        tensor neighbours are physical neighbours.

    Raises:
      UserError: the sizes need more devices than there are, or do not divide them.
    """
    import jax
    import numpy as np
    from jax.experimental import mesh_utils
    from jax.sharding import Mesh

    devices = list(jax.devices() if devices is None else devices)
    sizes = _resolve(shape, len(devices))
    if devices[0].platform == "tpu":
        # Without splitting, tensor=8 on a cube of 4x4x4 would be refused: 8 is no side of it.
        arranged = mesh_utils.create_device_mesh(
            sizes, devices=devices, allow_split_physical_axes=True
        )
        return Mesh(arranged, MESH_AXES)
    return Mesh(np.asarray(devices).reshape(sizes), MESH_AXES)


def _resolve(shape: MeshShape, num_devices: int) -> tuple[int, int, int]:
    partitions = shape.fsdp * shape.tensor
    wanted = (max(shape.data, 1), shape.fsdp, shape.tensor)
    if math.prod(wanted) > num_devices:
        raise UserError(
            f"A mesh of data={shape.data}, fsdp={shape.fsdp}, tensor={shape.tensor} has "
            f"{math.prod(wanted)} partitions, but there are only {num_devices} devices. Lower one "
            "of the sizes, or use more devices."
        )
    if shape.data == -1 and num_devices % partitions == 0:
        return (num_devices // partitions, shape.fsdp, shape.tensor)
    if shape.data != -1 and math.prod(wanted) == num_devices:
        return wanted
    raise UserError(
        f"A mesh of data={shape.data}, fsdp={shape.fsdp}, tensor={shape.tensor} does not use all "
        f"{num_devices} devices evenly. Choose sizes whose product is {num_devices}, or data=-1 "
        "with fsdp × tensor a divisor of it."
    )
