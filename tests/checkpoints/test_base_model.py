"""A fingerprint changes with any bit of any parameter, and with nothing else."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tlm_jax.checkpoints import base_model
from tlm_jax.checkpoints.base_model import BaseModel, Fingerprint
from tlm_jax.lazy import in_memory
from tlm_jax.models.lora import LoraConfig
from tlm_jax.sharding.mesh import MeshShape, make_mesh


def _text(**arrays):
    fingerprint = Fingerprint()
    for name, array in arrays.items():
        fingerprint.add(name, jnp.asarray(array))
    return fingerprint.text()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_any_single_bit_counts(dtype):
    array = jnp.asarray(np.random.default_rng(0).normal(size=(6, 5)), dtype)
    unsigned = jnp.uint32 if dtype == "float32" else jnp.uint16
    bits = jax.lax.bitcast_convert_type(array, unsigned)
    found = {_text(a=array)}
    for entry, bit in ((0, 0), (0, 8 * array.dtype.itemsize - 1), (17, 3), (29, 0)):
        row, column = divmod(entry, 5)
        flipped = bits.at[row, column].set(bits[row, column] ^ unsigned(1 << bit))
        found.add(_text(a=jax.lax.bitcast_convert_type(flipped, array.dtype)))
    assert len(found) == 5


def test_place_name_and_shape_count_and_order_does_not():
    x, y = np.float32([[1, 2], [3, 4]]), np.float32([5, 6])
    assert _text(x=x, y=y) == _text(y=y, x=x)
    others = {
        _text(x=x, y=y),
        _text(x=x, y=y[::-1]),
        _text(x=x.T, y=y),
        _text(x=y, y=x),
        _text(x=x.reshape(4), y=y),
        _text(x=x),
    }
    assert len(others) == 6


def test_is_the_same_on_a_mesh():
    array = np.random.default_rng(1).normal(size=(16, 8)).astype(np.float32)
    mesh = make_mesh(MeshShape(1, 4, 2))
    spec = jax.sharding.PartitionSpec("fsdp", "tensor")
    split = jax.device_put(array, jax.sharding.NamedSharding(mesh, spec))
    assert _text(a=split) == _text(a=array)


@pytest.mark.parametrize("shape", [(7, 3, 5), (13,), ()])
def test_is_the_same_in_blocks(shape, monkeypatch):
    array = np.random.default_rng(2).normal(size=shape).astype(np.float32)
    monkeypatch.setattr(base_model, "BLOCK_BYTES", 128)
    in_blocks = Fingerprint()
    in_blocks.add_lazy("a", in_memory(array))
    assert in_blocks.text() == _text(a=array)


def test_stays_what_it_was():
    """Checkpoints of adapters hold it."""
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    assert _text(a=array, b=array[0].astype(jnp.bfloat16)) == "ffa689be1981c8f7"


def test_settings_come_back():
    lora = LoraConfig(rank=3, alpha=5.0, targets=".", quantization="nf4", rank_stabilized=True)
    assert BaseModel.of("somewhere", "0" * 16, lora).lora_config() == lora
