"""Relative buckets, ALiBi and rotation against hand-worked values and plain loops."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tlm_jax.models import positions
from tlm_jax.models.specs import RelativeSpec, RotaryScaling, RotarySpec


def _bucket_by_definition(offset, buckets, max_distance, bidirectional):
    """Raffel et al. 2020, one offset at a time."""
    start = 0
    if bidirectional:
        buckets //= 2
        start = buckets if offset > 0 else 0
        distance = abs(offset)
    else:
        distance = max(-offset, 0)
    exact = buckets // 2
    if distance < exact:
        return start + distance
    steps = math.log(distance / exact) / math.log(max_distance / exact) * (buckets - exact)
    return start + min(buckets - 1, exact + math.floor(steps + 1e-6))


@pytest.mark.parametrize("bidirectional", [False, True])
def test_buckets_follow_the_definition(bidirectional):
    offsets = np.arange(-300, 301)
    expected = [_bucket_by_definition(int(o), 32, 128, bidirectional) for o in offsets]
    got = positions.relative_buckets(offsets, RelativeSpec(32, 128, bidirectional))
    np.testing.assert_array_equal(got, expected)


def test_buckets_by_hand():
    spec = RelativeSpec(num_buckets=8, max_distance=16, bidirectional=True)
    offsets = np.asarray([0, -1, -2, -4, -6, -100, 1, 3, 100])
    # Four buckets a direction: 0 and 1 exact, then 2 from distance 2, 3 from √32 ≈ 5.7 on.
    expected = [0, 1, 2, 2, 3, 3, 5, 6, 7]
    np.testing.assert_array_equal(positions.relative_buckets(offsets, spec), expected)


def test_toeplitz_puts_each_offset_on_its_diagonal():
    values = jnp.arange(10.0).reshape(2, 5)
    expected = [[[2, 3, 4], [1, 2, 3], [0, 1, 2]], [[7, 8, 9], [6, 7, 8], [5, 6, 7]]]
    np.testing.assert_array_equal(positions.toeplitz(values, 3), expected)


def test_toeplitz_gradient_sums_each_diagonal():
    weights = jnp.arange(9.0).reshape(1, 3, 3)
    gradient = jax.grad(lambda v: jnp.sum(positions.toeplitz(v, 3) * weights))(jnp.zeros((1, 5)))
    diagonals = [np.trace(weights[0], offset=offset) for offset in range(-2, 3)]
    np.testing.assert_allclose(gradient[0], diagonals)


@pytest.mark.parametrize("spec", [RelativeSpec(8, 20, True), RelativeSpec(8, 20, False)])
def test_relative_bias_of_one_step_is_a_row_of_the_full_one(spec):
    module = positions.RelativeBias(spec, num_heads=3)
    table = jnp.asarray(np.random.default_rng(0).standard_normal((3, 8)), jnp.float32)
    bound = module.bind({"params": {"rel_embedding": table}})
    full = bound.full(30)
    for row in (0, 7, 29):
        offsets = jnp.arange(30)[None] - row
        np.testing.assert_allclose(bound.at(offsets[:, None])[0, :, 0], full[0, :, row], atol=1e-6)


def test_alibi_slopes_as_published():
    np.testing.assert_allclose(positions.alibi_slopes(8), [2.0**-i for i in range(1, 9)])
    np.testing.assert_allclose(
        positions.alibi_slopes(6), [2.0**-2, 2.0**-4, 2.0**-6, 2.0**-8, 2.0**-1, 2.0**-3]
    )


def test_alibi_falls_linearly_with_distance():
    bias = positions.AlibiBias(2)
    np.testing.assert_allclose(bias.full(3)[0, 0, 2], [-2 / 16, -1 / 16, 0], atol=1e-7)
    np.testing.assert_allclose(bias.at(jnp.asarray([[[-2, 0]]]))[0, :, 0, 0], [-2 / 16, -2 / 256])


@pytest.mark.parametrize("interleaved", [False, True])
def test_rotation_by_hand(interleaved):
    x = jnp.asarray([1.0, 2.0, 3.0, 4.0, 9.0]).reshape(1, 1, 1, 5)
    spec = RotarySpec(dim=4, base=100.0, interleaved=interleaved)
    got = positions.rotate(x, jnp.asarray([[3]]), spec)[0, 0, 0]
    # Pair 0 turns by 3 · 100^0, pair 1 by 3 · 100^(-1/2) radians.
    pairs = {0: (0, 1), 1: (2, 3)} if interleaved else {0: (0, 2), 1: (1, 3)}
    expected = np.asarray([1.0, 2.0, 3.0, 4.0, 9.0])
    for index, (first, second) in pairs.items():
        angle = 3 * 100.0 ** (-index / 2)
        turned = complex(expected[first], expected[second]) * np.exp(1j * angle)
        expected[first], expected[second] = turned.real, turned.imag
    np.testing.assert_allclose(got, expected, rtol=1e-6)


def test_linear_scaling_divides_all_frequencies():
    scaling = RotaryScaling(kind="linear", factor=4.0)
    got = positions.rotary_frequencies(4, 100.0, scaling)
    np.testing.assert_allclose(got, [1 / 4, 0.1 / 4], rtol=1e-6)


def test_llama3_scaling_by_hand():
    # Turns in 2π · 100 positions are 100 times the frequency: 100, 10, 1.
    scaling = RotaryScaling(
        kind="llama3",
        factor=8.0,
        low_freq_factor=4.0,
        high_freq_factor=16.0,
        original_max_positions=628,
    )
    got = positions.rotary_frequencies(6, 1000.0, scaling)
    turns = 628 * 0.1 / (2 * math.pi)
    kept = (turns - 4) / 12
    blended = 0.1 * kept + 0.1 / 8 * (1 - kept)
    np.testing.assert_allclose(got, [1.0, blended, 0.01 / 8], rtol=1e-6)
    assert 0.1 / 8 < blended < 0.1


def test_layers_with_a_window_turn_by_their_own_base_unscaled():
    x = jnp.arange(1.0, 9.0).reshape(1, 2, 1, 4)
    at = jnp.asarray([[3, 50]])
    scaling = RotaryScaling(kind="linear", factor=8.0)
    spec = RotarySpec(4, 1e6, scaling=scaling, windowed_base=100.0)
    rotate = jax.jit(positions.rotate, static_argnums=2)
    local = rotate(x, at, spec, jnp.asarray(True))
    np.testing.assert_allclose(local, positions.rotate(x, at, RotarySpec(4, 100.0)), rtol=1e-5)
    full = positions.rotate(x, at, RotarySpec(4, 1e6, scaling=scaling))
    np.testing.assert_allclose(rotate(x, at, spec, jnp.asarray(False)), full, rtol=1e-5)
    assert np.abs(local - full).max() > 0.1


def test_rotated_products_depend_on_the_distance_only():
    rng = np.random.default_rng(0)
    q, k = (jnp.asarray(rng.standard_normal((1, 1, 1, 8)), jnp.float32) for _ in range(2))

    def product(query_position, key_position):
        rotate = lambda x, p: positions.rotate(x, jnp.asarray([[p]]), RotarySpec(8))  # noqa: E731
        return jnp.sum(rotate(q, query_position) * rotate(k, key_position))

    np.testing.assert_allclose(product(5, 2), product(105, 102), rtol=1e-4)
    assert abs(product(5, 2) - product(5, 4)) > 1e-3
