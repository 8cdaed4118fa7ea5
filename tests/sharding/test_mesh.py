"""Meshes take all devices, and impossible shapes are refused in one line."""

import jax
import numpy as np
import pytest

from tlm_jax.errors import UserError
from tlm_jax.sharding.mesh import MeshShape, make_mesh


def test_data_takes_the_devices_left_over():
    mesh = make_mesh(MeshShape(fsdp=2, tensor=2))
    assert dict(mesh.shape) == {"data": 2, "fsdp": 2, "tensor": 2}


def test_tensor_neighbours_are_adjacent():
    mesh = make_mesh(MeshShape(data=2, fsdp=2, tensor=2))
    ids = np.vectorize(lambda device: device.id)(mesh.devices)
    np.testing.assert_array_equal(ids[0, 0], [0, 1])


def test_some_devices_can_be_chosen():
    mesh = make_mesh(MeshShape(tensor=2), jax.devices()[2:6])
    assert dict(mesh.shape) == {"data": 2, "fsdp": 1, "tensor": 2}
    assert {device.id for device in mesh.devices.flat} == {2, 3, 4, 5}


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (MeshShape(data=4, fsdp=2, tensor=2), "16 partitions, but there are only 8 devices"),
        (MeshShape(fsdp=16), "16 partitions, but there are only 8 devices"),
        (MeshShape(data=2, fsdp=2), "does not use all 8 devices evenly"),
        (MeshShape(fsdp=3), "does not use all 8 devices evenly"),
    ],
)
def test_impossible_meshes(shape, message):
    with pytest.raises(UserError, match=message):
        make_mesh(shape)


@pytest.mark.parametrize(("field", "size"), [("tensor", 0), ("fsdp", -1), ("data", 0)])
def test_impossible_sizes(field, size):
    with pytest.raises(UserError, match=f"MeshShape.{field} is {size}"):
        MeshShape(**{field: size})
