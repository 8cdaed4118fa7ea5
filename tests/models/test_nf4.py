"""NF4 is the published code book, to the nearest value, in blocks of 64 inputs."""

import itertools
import math
from statistics import NormalDist

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tlm_jax.models import nf4
from tlm_jax.sharding.mesh import MeshShape, make_mesh
from tlm_jax.sharding.rules import named_shardings


def _reference(kernel: np.ndarray) -> np.ndarray:
    """Quantizes and dequantizes, one output and block at a time."""
    book = np.array(nf4.CODE_BOOK, np.float32)
    result = np.empty_like(kernel)
    for output in range(kernel.shape[1]):
        for start in range(0, len(kernel), 64):
            block = kernel[start : start + 64, output]
            scale = np.abs(block).max()
            normal = block / scale if scale > 0 else block
            nearest = np.abs(normal[:, None] - book).argmin(axis=1)
            result[start : start + 64, output] = book[nearest] * scale
    return result


def test_code_book_is_the_one_of_the_paper():
    # Section 3 and bitsandbytes: 8 quantiles below zero, zero, 8 above, from the probability
    # that leaves (1/32 + 1/30) / 2 outside, scaled to [-1, 1].
    outermost = 1 - (1 / 32 + 1 / 30) / 2
    quantile = NormalDist().inv_cdf
    above = [quantile(p) for p in np.linspace(outermost, 0.5, 9)[:-1]]
    below = [-quantile(p) for p in np.linspace(outermost, 0.5, 8)[:-1]]
    values = np.sort([*below, 0.0, *above]) / max(above)
    np.testing.assert_allclose(nf4.CODE_BOOK, values, atol=2e-6)


def test_worked_by_hand():
    # One block: its largest magnitude is 2, so entries are halved, then rounded to the code book.
    column = np.zeros(64, np.float32)
    column[:5] = [2.0, -2.0, 1.0, -0.4, 0.33]
    kernel = nf4.quantize(jnp.asarray(column[:, None]), double=False)
    assert kernel.codes.shape == (1, 1, 32, 1)
    assert float(kernel.scales[0, 0, 0]) == 2.0
    # 1, -1, 0.5 (nearest 0.4407), -0.2 (nearest -0.1848), 0.165 (nearest 0.1609); 0 is code 7, and
    # the high halves of the bytes are inputs 32 to 63.
    assert kernel.codes[0, 0, :6, 0].tolist() == [
        15 + 112,
        0 + 112,
        12 + 112,
        5 + 112,
        9 + 112,
        119,
    ]
    back = np.asarray(nf4.dequantize(kernel))[:5, 0]
    np.testing.assert_allclose(
        back, [2.0, -2.0, 2 * 0.44070982933, 2 * -0.18477343023, 2 * 0.1609302014], rtol=1e-6
    )


@pytest.mark.parametrize("shape", [(64, 1), (128, 48), (200, 5), (8, 3)])
def test_equals_numpy_reference(shape):
    kernel = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    kernel[:8, 0] = 0.0
    found = nf4.dequantize(jax.jit(lambda k: nf4.quantize(k, double=False))(kernel))
    np.testing.assert_array_equal(np.asarray(found), _reference(kernel))


def test_code_book_values_and_zeros_come_back_exactly():
    book = np.tile(np.float32(nf4.CODE_BOOK), 4)[:, None] * np.float32([[1.0, 3.0, 0.0]])
    found = nf4.dequantize(nf4.quantize(jnp.asarray(book), double=False))
    np.testing.assert_array_equal(np.asarray(found), book)


@pytest.mark.parametrize("double", [False, True])
def test_error_is_at_most_half_a_gap(double):
    kernel = jax.random.normal(jax.random.key(1), (256, 512)) * 0.02
    error = jnp.abs(nf4.dequantize(nf4.quantize(kernel, double=double)) - kernel)
    scales = jnp.repeat(jnp.max(jnp.abs(kernel.reshape(4, 64, 512)), axis=1), 64, axis=0)
    half_gap = max(b - a for a, b in itertools.pairwise(nf4.CODE_BOOK)) / 2
    # An 8-bit scale is off by at most half a unit of 1/127 of the largest deviation from the mean.
    bound = half_gap * scales + (jnp.ptp(scales) / 127 if double else 0.0)
    assert bool((error <= bound * (1 + 1e-5)).all())
    # About a tenth of the standard deviation for normal entries.
    assert 0.08 < float(jnp.sqrt(jnp.mean(error**2))) / 0.02 < 0.1


@pytest.mark.parametrize(("double", "bytes_each"), [(False, 0.5 + 4 / 64), (True, 0.5 + 1 / 64)])
def test_takes_half_a_byte_and_a_scale(double, bytes_each):
    kernel = nf4.quantize(jnp.ones((512, 3, 1024)), double=double)
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(kernel))
    beyond = (4 / 64 / 256 + 4 / (512 * 1024)) if double else 0.0
    assert size / (512 * 3 * 1024) == pytest.approx(bytes_each + beyond)


def test_stacked_layers_are_the_layers():
    stacked = jax.random.normal(jax.random.key(2), (100, 3, 32))
    kernel = nf4.quantize(stacked)
    np.testing.assert_array_equal(
        np.asarray(nf4.dequantize(kernel)),
        np.stack([nf4.dequantize(nf4.quantize(stacked[:, i])) for i in range(3)], axis=1),
    )
    layer = jax.tree.map(lambda leaf: leaf[:, 1], kernel)
    np.testing.assert_array_equal(
        np.asarray(nf4.dequantize(layer)), np.asarray(nf4.dequantize(kernel)[:, 1])
    )


def test_product_and_its_gradient():
    kernel = nf4.quantize(jax.random.normal(jax.random.key(3), (96, 40)))
    rows = jax.random.normal(jax.random.key(4), (7, 96))
    dense = nf4.dequantize(kernel)
    weights = jnp.arange(7 * 40.0).reshape(7, 40) / 100

    def of_codes(rows):
        return jnp.sum(weights * nf4.product(rows, kernel, ("embed", "mlp")))

    def of_dense(rows):
        return jnp.sum(weights * (rows @ dense))

    np.testing.assert_allclose(of_codes(rows), of_dense(rows), rtol=1e-6)
    expected = np.asarray(jax.grad(of_dense)(rows))
    np.testing.assert_allclose(
        jax.grad(of_codes)(rows), expected, atol=1e-6 * np.abs(expected).max()
    )


def test_backward_pass_keeps_codes_not_values():
    """What a layer keeps for its backward pass is at most its input and output."""
    kernel = nf4.quantize(jax.random.normal(jax.random.key(5), (1024, 4, 1024)))
    rows = jnp.ones((2, 1024))

    def through_layers(rows, kernel):
        def layer(rows, index):
            one = jax.tree.map(lambda leaf: leaf[:, index], kernel)
            return nf4.product(rows, one, ("embed", "mlp")), None

        return jax.lax.scan(layer, rows, jnp.arange(4))[0].sum()

    compiled = jax.jit(jax.grad(through_layers)).lower(rows, kernel).compile()
    stats = compiled.memory_analysis()
    assert stats is not None
    # One dequantised layer is 4 MiB, and XLA may hold its halves beside it; four are 16 MiB.
    assert stats.temp_size_in_bytes < 12 * 2**20


def test_is_split_over_a_mesh():
    mesh = make_mesh(MeshShape(1, 4, 2))
    kernel = nf4.quantize(jax.random.normal(jax.random.key(6), (512, 2, 64)))
    axes = nf4.nf4_axes(("embed", "layers", "mlp"), inputs=512)
    split = jax.device_put(kernel, named_shardings(axes, mesh, shapes=kernel))
    parts = [shard.data.shape for shard in split.codes.addressable_shards]
    assert set(parts) == {(1, 2, 2, 32, 32)}
    assert math.prod(parts[0]) * 8 == kernel.codes.size
    np.testing.assert_allclose(
        jax.jit(nf4.dequantize)(split), jax.jit(nf4.dequantize)(kernel), rtol=1e-6
    )
