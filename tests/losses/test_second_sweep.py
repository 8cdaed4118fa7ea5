"""A narrow matrix's gradient, taken by blocks of V, is that of whole logits and stays small."""

import functools
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from closeness import assert_close
from compiled_programs import loops_of
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from tlm_jax.losses import sweep
from tlm_jax.losses.cross_entropy import cross_entropy
from tlm_jax.losses.distillation import Distillation, distillation_loss
from tlm_jax.losses.fused import cross_entropy_from_hidden, distillation_from_hidden
from tlm_jax.losses.teachers import DenseTeacher, LogitsTeacher, SparseTeacher
from tlm_jax.sharding.rules import use_rules
from tlm_jax.types import Unembedding

B, T, D, E = 8, 7, 24, 6
V = 640  # with chunks of 16 tokens blocks of 128 columns
SETTINGS = {
    "few candidates": Distillation(alpha=0.6, label_smoothing=0.1, z_loss=1e-2),
    "many candidates": Distillation(alpha=0.6, temperature=1.5),
    "dense": Distillation("jensen_shannon(0.4)", alpha=0.6, temperature=1.5, z_loss=1e-2),
    "logits": Distillation("reverse_kl", alpha=1.0),
}
LOSSES = ("cross entropy", *SETTINGS)


def example(vocabulary=V, dtype=jnp.float32, rows=B, length=T):
    keys = jax.random.split(jax.random.key(0), 8)
    tokens = (rows, length)
    student = {
        "hidden": jax.random.normal(keys[0], (*tokens, D), dtype),
        "matrix": jax.random.normal(keys[1], (D, vocabulary), dtype),
        "bias": jax.random.normal(keys[2], (vocabulary,), dtype),
    }
    targets = jax.random.randint(keys[3], tokens, 0, vocabulary)
    weights = jax.random.uniform(keys[4], tokens)
    said = (jax.random.uniform(keys[5], tokens) < 0.8).astype(jnp.float32)
    return student, (targets, weights, said)


def teacher_of(name, said, vocabulary):
    keys = jax.random.split(jax.random.key(1), 3)
    tokens = said.shape
    if name == "dense":
        matrix = jax.random.normal(keys[0], (E, vocabulary))
        bias = jax.random.normal(keys[1], (vocabulary,))
        hidden = jax.random.normal(keys[2], (*tokens, E))
        return DenseTeacher(hidden, Unembedding(matrix, 0.5, 4.0, bias), said)
    if name == "logits":
        return LogitsTeacher(jax.random.normal(keys[0], (*tokens, vocabulary)), said)
    count = 4 if name == "few candidates" else 20
    part = vocabulary // count
    ids = jax.random.randint(keys[0], (*tokens, count), 0, part)
    ids += (part * jnp.arange(count))[None, None]
    log_p = jax.nn.log_softmax(jax.random.normal(keys[1], (*tokens, count + 1)))
    logprobs = log_p[..., :count].at[0, :, -1].set(-jnp.inf)
    return SparseTeacher(ids, logprobs, log_p[..., count], said)


def with_gradient(name, *, fused, vocabulary=V, **options):
    def loss(student, rest):
        head = Unembedding(student["matrix"], 0.5, 5.0, student["bias"])
        targets, weights, said = rest
        smoothing = {"label_smoothing": 0.1, "z_loss": 1e-2}
        if name != "cross entropy":
            teacher, settings = teacher_of(name, said, vocabulary), SETTINGS[name]
            if fused:
                output = distillation_from_hidden(
                    student["hidden"], head, targets, weights, teacher, settings, **options
                )
            else:
                logits = head.logits(student["hidden"])
                output = distillation_loss(logits, targets, weights, teacher, settings)
        elif fused:
            output = cross_entropy_from_hidden(
                student["hidden"], head, targets, weights, **smoothing, **options
            )
        else:
            output = cross_entropy(head.logits(student["hidden"]), targets, weights, **smoothing)
        return output.loss.mean(), output

    return jax.jit(jax.value_and_grad(loss, has_aux=True))


@functools.cache
def expected_of(name, vocabulary=V):
    return with_gradient(name, fused=False, vocabulary=vocabulary)(*example(vocabulary))


@pytest.fixture
def every_matrix_is_narrow(monkeypatch):
    """Float32 matrices too then go through the second sweep: their rounding hides no mistake."""
    monkeypatch.setattr(sweep, "_is_narrow", lambda matrix: True)


@pytest.mark.usefixtures("every_matrix_is_narrow")
@pytest.mark.parametrize("name", LOSSES)
def test_equals_the_plain_loss(name):
    vocabulary = 600  # of 5 blocks the last overlaps the one before
    step = with_gradient(name, fused=True, vocabulary=vocabulary, chunk_tokens=16)
    assert_close(step(*example(vocabulary)), expected_of(name, vocabulary))


@pytest.mark.parametrize("name", ["cross entropy", "dense"])
def test_rounds_the_same_sums_to_the_narrow_type(name):
    arrays = example(dtype=jnp.bfloat16)
    one = with_gradient(name, fused=True, chunk_tokens=16, second_sweep=False)(*arrays)
    two = with_gradient(name, fused=True, chunk_tokens=16)(*arrays)
    jax.tree.map(np.testing.assert_array_equal, two[0], one[0])
    np.testing.assert_array_equal(two[1]["hidden"], one[1]["hidden"])
    assert two[1]["matrix"].dtype == jnp.bfloat16
    # Another order of the sums may round to the neighbour.
    assert_close(two[1], one[1], rtol=2**-7)


@pytest.mark.usefixtures("every_matrix_is_narrow")
@pytest.mark.parametrize("name", ["many candidates", "dense"])
def test_devices_exchange_blocks(name):
    mesh = Mesh(np.asarray(jax.devices()[:8]).reshape(2, 2, 2), ("data", "fsdp", "tensor"))
    rows = NamedSharding(mesh, P(("data", "fsdp")))
    student, rest = example()
    student = {
        "hidden": jax.device_put(student["hidden"], rows),
        "matrix": jax.device_put(student["matrix"], NamedSharding(mesh, P("fsdp", "tensor"))),
        "bias": jax.device_put(student["bias"], NamedSharding(mesh, P("tensor"))),
    }
    rest = jax.device_put(rest, rows)
    with use_rules(mesh):
        step = with_gradient(name, fused=True, chunk_tokens=4)
        compiled = step.lower(student, rest).compile()
    assert_close(compiled(student, rest), expected_of(name))
    moves = re.findall(
        r"= (.*) (?:all-reduce|reduce-scatter|all-to-all)\(", loops_of(compiled.as_text())
    )
    sizes = [
        math.prod(int(n) for n in shape.split(","))
        for move in moves
        for shape in re.findall(r"\[([\d,]+)\]", move)
    ]
    assert max(sizes) == D * 128  # a block's sums, once for each block
