"""The chunked loss equals the plain one, in value and gradient, and stays small."""

import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from closeness import assert_close
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from tlm_jax.losses.cross_entropy import cross_entropy
from tlm_jax.losses.fused import cross_entropy_from_hidden
from tlm_jax.sharding.rules import use_rules
from tlm_jax.types import Unembedding

B, T, D, V = 4, 7, 8, 48
OPTIONS = {"label_smoothing": 0.1, "z_loss": 1e-2}


def example(dtype=jnp.float32, rows=B, length=T, width=D, vocabulary=V):
    keys = jax.random.split(jax.random.key(0), 5)
    arrays = {
        "hidden": jax.random.normal(keys[0], (rows, length, width), dtype),
        "matrix": jax.random.normal(keys[1], (width, vocabulary), dtype),
        "bias": jax.random.normal(keys[2], (vocabulary,), dtype),
    }
    targets = jax.random.randint(keys[3], (rows, length), 0, vocabulary)
    return arrays, targets, jax.random.uniform(keys[4], (rows, length))


def plain(arrays, targets, weights, *, scale=1.0, soft_cap=None):
    head = Unembedding(arrays["matrix"], scale, soft_cap, arrays.get("bias"))
    return cross_entropy(head.logits(arrays["hidden"]), targets, weights, **OPTIONS)


def fused(arrays, targets, weights, *, scale=1.0, soft_cap=None, chunk_tokens=8):
    head = Unembedding(arrays["matrix"], scale, soft_cap, arrays.get("bias"))
    return cross_entropy_from_hidden(
        arrays["hidden"], head, targets, weights, **OPTIONS, chunk_tokens=chunk_tokens
    )


def with_gradient(function, **options):
    def loss(arrays, targets, weights):
        output = function(arrays, targets, weights, **options)
        return output.loss.mean(), output

    return jax.jit(jax.value_and_grad(loss, has_aux=True))


@pytest.mark.parametrize("chunk_tokens", [1, 8, 12, 1000])  # 7, 4, 3 chunks, the last padded; 1
@pytest.mark.parametrize("bias", [False, True])
def test_equals_the_plain_loss(chunk_tokens, bias):
    arrays, targets, weights = example()
    if not bias:
        del arrays["bias"]
    expected = with_gradient(plain)(arrays, targets, weights)
    got = with_gradient(fused, chunk_tokens=chunk_tokens)(arrays, targets, weights)
    assert_close(got, expected)


def test_scale_and_soft_cap():
    arrays, targets, weights = example()
    options = {"scale": 0.25, "soft_cap": 2.0}
    expected = with_gradient(plain, **options)(arrays, targets, weights)
    assert_close(with_gradient(fused, **options)(arrays, targets, weights), expected)


def test_undifferentiated_gives_the_same_value():
    arrays, targets, weights = example()
    expected = plain(arrays, targets, weights)
    assert_close(fused(arrays, targets, weights), expected)
    assert_close(jax.jit(fused)(arrays, targets, weights), expected)


def test_bfloat16_operands_keep_float32_sums():
    arrays, targets, weights = example(jnp.bfloat16)
    wide = jax.tree.map(lambda x: x.astype(jnp.float32), arrays)
    (_, expected), expected_gradient = with_gradient(plain)(wide, targets, weights)
    (_, output), gradient = with_gradient(fused)(arrays, targets, weights)
    assert_close(output, expected, rtol=1e-5)
    assert all(g.dtype == jnp.bfloat16 for g in jax.tree.leaves(gradient))
    assert_close(gradient, expected_gradient, rtol=2e-2, atol=2e-3)


def test_padding_changes_neither_loss_nor_gradient():
    arrays, targets, weights = example()
    weights = weights.at[:, 5:].set(0.0)
    value = with_gradient(fused)(arrays, targets, weights)
    noisy = arrays | {"hidden": arrays["hidden"].at[:, 5:].add(3.0)}
    other = with_gradient(fused)(noisy, targets.at[:, 5:].set(0), weights)
    jax.tree.map(np.testing.assert_array_equal, value, other)
    assert not np.asarray(value[1]["hidden"][:, 5:]).any()


def test_all_padding_gives_zero_and_finite_gradients():
    arrays, targets, weights = example()
    (loss, _), gradient = with_gradient(fused)(arrays, targets, jnp.zeros_like(weights))
    assert float(loss) == 0.0
    assert all(not np.asarray(g).any() for g in jax.tree.leaves(gradient))


@pytest.mark.parametrize("shape", [(2, 2, 2), (8, 1, 1), (1, 1, 8), (1, 4, 2)])
def test_equals_the_plain_loss_on_a_mesh(shape):
    arrays, targets, weights = example(rows=8)
    expected = with_gradient(plain)(arrays, targets, weights)
    mesh = Mesh(np.asarray(jax.devices()[:8]).reshape(shape), ("data", "fsdp", "tensor"))

    def put(x, *spec):
        return jax.device_put(x, NamedSharding(mesh, P(*spec)))

    rows = ("data", "fsdp")
    arrays = {
        "hidden": put(arrays["hidden"], rows),
        "matrix": put(arrays["matrix"], "fsdp", "tensor"),
        "bias": put(arrays["bias"], "tensor"),
    }
    with use_rules(mesh):
        got = with_gradient(fused, chunk_tokens=2)(arrays, put(targets, rows), put(weights, rows))
    assert_close(got, expected)
    outside = with_gradient(fused, chunk_tokens=16)(arrays, put(targets, rows), put(weights, rows))
    assert_close(outside, expected)


def test_chunks_are_counted_on_each_device():
    arrays, targets, weights = example(rows=8, length=64, vocabulary=512)
    mesh = Mesh(np.asarray(jax.devices()[:8]).reshape(4, 1, 2), ("data", "fsdp", "tensor"))
    rows = NamedSharding(mesh, P("data"))
    arrays["hidden"], targets, weights = jax.device_put((arrays["hidden"], targets, weights), rows)
    with use_rules(mesh):
        step = with_gradient(fused, chunk_tokens=32)
        text = step.lower(arrays, targets, weights).compile().as_text()
    # 32 tokens a device are 16 positions of its 2 rows; the vocabulary is split in two.
    assert re.search(r"f32\[(2,16|32),256\]", text)
    assert not re.search(r"f32\[(2,\d+|\d\d+),512\]", text)


def compiled_with_gradient(chunk_tokens, rows=2, length=512, width=8, vocabulary=4096):
    arrays, targets, weights = example(rows=rows, length=length, width=width, vocabulary=vocabulary)
    del arrays["bias"]
    step = with_gradient(fused, chunk_tokens=chunk_tokens)
    return step.lower(arrays, targets, weights).compile()


def test_logits_exist_a_chunk_at_a_time():
    compiled = compiled_with_gradient(chunk_tokens=64)
    one_chunk = 64 * 4096
    shapes = re.findall(r"[a-z]+\d+\[([\d,]+)\]", compiled.as_text())
    largest = max(math.prod(int(n) for n in shape.split(",")) for shape in shapes)
    assert largest <= one_chunk
    # All logits are 16 MiB. A chunk's are 1 MiB, and so is their gradient.
    assert compiled.memory_analysis().temp_size_in_bytes < 3 * one_chunk * 4


def flops(function, *arguments):
    return jax.jit(function).lower(*arguments).compile().cost_analysis()["flops"]


def test_products_are_computed_once_and_only_those_needed():
    arrays, targets, weights = example(rows=2, length=32, width=128, vocabulary=512)
    del arrays["bias"]
    product = 2 * targets.size * 128 * 512

    def loss(arrays):
        return fused(arrays, targets, weights, chunk_tokens=64).loss.total

    assert product <= flops(loss, arrays) < 1.3 * product
    assert 3 * product <= flops(jax.value_and_grad(loss), arrays) < 3.4 * product
