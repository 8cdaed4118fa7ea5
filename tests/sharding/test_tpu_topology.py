"""Names of TPU slices: what they give, and what is wrong with the others."""

import importlib.util

import pytest

from tlm_jax.errors import UserError
from tlm_jax.sharding.mesh import MeshShape, make_mesh
from tlm_jax.sharding.tpu_topology import GENERATIONS, GIB, tpu_topology

needs_libtpu = pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None, reason="needs the extra `tpu`"
)


@needs_libtpu
@pytest.mark.parametrize(
    ("name", "devices", "hbm_gib"),
    [
        ("v4:2x2x2", 8, 32),
        ("v5e:1x1", 1, 16),
        ("v5e:4x4", 16, 16),
        ("v5p:2x2x1", 4, 95),
        ("v6e:2x4", 8, 32),
        ("tpu7x:2x2x2", 16, 96),
    ],
)
def test_devices_and_their_memory(name, devices, hbm_gib):
    topology = tpu_topology(name)
    assert len(topology.devices) == devices
    assert topology.devices[0].platform == "tpu"
    assert 0.93 * hbm_gib < topology.usable_bytes_per_device / GIB < 1.01 * hbm_gib


@needs_libtpu
@pytest.mark.parametrize("shape", [MeshShape(1, 16, 4), MeshShape(2, 16, 2), MeshShape(1, 8, 8)])
def test_mesh_axes_need_not_be_sides_of_the_torus(shape):
    mesh = make_mesh(shape, tpu_topology("v5p:4x4x4").devices)
    assert tuple(mesh.devices.shape) == (shape.data, shape.fsdp, shape.tensor)
    assert len({device.id for device in mesh.devices.flat}) == 64


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("v5p", r"'v5p' is not GENERATION:SIZES; expected for example v5p:4x4x4"),
        ("v5:4x4", r"unknown TPU generation 'v5' in topology 'v5:4x4'. Did you mean 'v5"),
        ("v5p:4x4", r"has 2 sizes; slices of v5p have 3, each at least 1: for example v5p:2x2x2"),
        ("v5e:0x4", r"has 2 sizes; slices of v5e have 2, each at least 1"),
        pytest.param("v5e:3x5", r"libtpu does not know the topology 'v5e:3x5'", marks=needs_libtpu),
    ],
)
def test_other_names_are_user_errors(name, message):
    with pytest.raises(UserError, match=message):
        tpu_topology(name)


def test_without_libtpu_the_error_names_the_extra(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"v5e:4x4 needs the libtpu package.*'tlm_jax\[tpu\]'"):
        tpu_topology("v5e:4x4")


def test_generations_have_the_memory_of_their_data_sheets():
    sheets = {name: known.hbm_gib for name, known in GENERATIONS.items()}
    assert sheets == {"v4": 32, "v5e": 16, "v5p": 95, "v6e": 32, "tpu7x": 192}
