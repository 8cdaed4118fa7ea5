"""Compiled for a TPU, a fused loss needs a tenth of what whole logits do, and copies no matrix."""

import importlib.util
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from tlm_jax.losses.distillation import Distillation
from tlm_jax.losses.fused import cross_entropy_from_hidden, distillation_from_hidden
from tlm_jax.losses.teachers import DenseTeacher, SparseTeacher
from tlm_jax.sharding.rules import use_rules
from tlm_jax.sharding.tpu_topology import tpu_topology
from tlm_jax.types import Unembedding

needs_libtpu = pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None, reason="needs the extra `tpu`"
)
B, T, D, V, C = 8, 1024, 4096, 128256, 8
# How many arrays [B, T, V] are alive at once where whole logits are differentiated: of our own
# gradients and of those JAX derives, whichever needs fewer (scripts/benchmark fused).
WHOLE = {"cross entropy": 1, "dense": 2.5, "sparse": 3}
SLOW = pytest.mark.slow


def loss_of(name, hidden, matrix, targets, said):
    ones = jnp.ones(targets.shape)
    head = Unembedding(matrix)
    if name == "cross entropy":
        return cross_entropy_from_hidden(hidden, head, targets, ones).loss.mean()
    if name == "dense":
        settings = Distillation("jensen_shannon(0.5)", alpha=0.5)
        teacher = DenseTeacher(said[0], Unembedding(said[1]), ones)
    else:
        settings, teacher = Distillation(alpha=0.5), SparseTeacher(*said, ones)
    return distillation_from_hidden(hidden, head, targets, ones, teacher, settings).loss.mean()


@pytest.fixture
def uncached():
    """A TPU's programs can be written to the cache of compiled ones but not read without a TPU."""
    option = "jax_persistent_cache_min_compile_time_secs"
    before = jax.config.values[option]
    jax.config.update(option, 1e9)
    yield
    jax.config.update(option, before)


def compiled(name, hidden_type, matrix_type):
    device = jax.sharding.SingleDeviceSharding(tpu_topology("v5p:1x1x1").devices[0])

    def array(dtype, *shape):
        return jax.ShapeDtypeStruct(shape, dtype, sharding=device)

    hidden, matrix = array(hidden_type, B, T, D), array(matrix_type, D, V)
    targets = array(jnp.int32, B, T)
    said = {
        "cross entropy": None,
        "dense": (hidden, matrix),
        "sparse": (
            array(jnp.int32, B, T, C),
            array(jnp.float32, B, T, C),
            array(jnp.float32, B, T),
        ),
    }[name]

    def loss(hidden, matrix, targets, said):
        return loss_of(name, hidden, matrix, targets, said)

    step = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))
    return step.lower(hidden, matrix, targets, said).compile()


@needs_libtpu
@pytest.mark.usefixtures("uncached")
@pytest.mark.parametrize(
    ("name", "hidden_type", "matrix_type"),
    [
        ("cross entropy", "bfloat16", "float32"),  # as in a train step
        *(
            pytest.param(name, dtype, dtype, marks=SLOW)
            for name in WHOLE
            for dtype in ("float32", "bfloat16")
        ),
    ],
)
def test_a_tenth_of_whole_logits(name, hidden_type, matrix_type):
    program = compiled(name, hidden_type, matrix_type)
    assert program.memory_analysis().temp_size_in_bytes <= WHOLE[name] * B * T * V * 4 / 10
    if matrix_type == "float32":  # the product's operands are bfloat16
        assert f"bf16[{D},{V}]" not in (program.as_text() or "")


@needs_libtpu
@pytest.mark.slow
@pytest.mark.usefixtures("uncached")
def test_devices_gather_a_matrix_in_bfloat16():
    devices = np.asarray(tpu_topology("v5p:2x2x1").devices).reshape(1, 2, 2)
    mesh = Mesh(devices, ("data", "fsdp", "tensor"))

    def array(dtype, shape, *axes):
        return jax.ShapeDtypeStruct(shape, dtype, sharding=NamedSharding(mesh, P(*axes)))

    hidden = array(jnp.bfloat16, (B, T, D), "fsdp")
    matrix = array(jnp.float32, (D, V), "fsdp", "tensor")
    targets = array(jnp.int32, (B, T), "fsdp")

    def loss(hidden, matrix, targets):
        return loss_of("cross entropy", hidden, matrix, targets, None)

    with use_rules(mesh):
        step = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))
        text = step.lower(hidden, matrix, targets).compile().as_text() or ""
    gathered = re.findall(r"= (\w+\[[\d,]+\])\S* all-gather(?:-start)?\(", text)
    assert set(gathered) == {f"bf16[{D},{V // 2}]"}
