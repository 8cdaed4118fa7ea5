"""The shuffle is a bijection, differs by key, and never changes between releases."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tlm_jax.data.pipeline.shuffle import chosen, permute


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 3000), st.integers(-(2**70), 2**70), st.integers(0, 2**40))
def test_is_a_bijection(size, seed, epoch):
    images = permute(np.arange(size), size, seed, epoch)
    np.testing.assert_array_equal(np.sort(images), np.arange(size))


@given(st.lists(st.integers(0, 999_999), min_size=1, max_size=20), st.integers(0, 5))
@settings(deadline=None)
def test_each_place_can_be_read_alone(positions, seed):
    together = permute(np.array(positions), 1_000_000, seed)
    alone = [permute(np.array([p]), 1_000_000, seed)[0] for p in positions]
    np.testing.assert_array_equal(together, alone)


def test_a_key_may_differ_by_position():
    positions = np.array([3, 3, 4, 4])
    epochs = np.array([0, 1, 0, 1])
    together = permute(positions, 10, 7, epochs)
    alone = [permute(positions[i : i + 1], 10, 7, int(epochs[i]))[0] for i in range(4)]
    np.testing.assert_array_equal(together, alone)


def test_the_order_is_pinned():
    # A changed order would make resumed runs repeat and lose examples.
    assert permute(np.arange(10), 10, 0, 0).tolist() == [5, 0, 2, 1, 6, 9, 3, 4, 7, 8]
    assert permute(np.arange(10), 10, 0, 1).tolist() == [5, 3, 9, 1, 0, 7, 6, 8, 4, 2]
    large = permute(np.arange(3), 10**12, 1).tolist()
    assert large == [843814331716, 322869482576, 653888414000]


def test_epochs_and_seeds_are_unlike_each_other():
    size = 5000
    orders = [permute(np.arange(size), size, *key) for key in [(0, 0), (0, 1), (1, 0), (2, 0)]]
    for i, a in enumerate(orders):
        for b in orders[i + 1 :]:
            # Two random orders agree at one place on average.
            assert np.count_nonzero(a == b) < 10
            assert abs(np.corrcoef(a, b)[0, 1]) < 0.08


def test_neighbours_are_spread_evenly():
    size = 10_000
    images = permute(np.arange(size), size, 11)
    steps = np.abs(np.diff(images))
    assert abs(steps.mean() / (size / 3) - 1) < 0.03


def test_an_empty_set_is_refused():
    with pytest.raises(ValueError, match="set of 0"):
        permute(np.arange(0), 0, 1)


def test_a_sample_is_spread_fixed_and_grows():
    found = chosen(6511, 200, 0)
    assert found.tolist() == sorted(set(found.tolist()))
    assert chosen(6511, 200, 0).tolist() == found.tolist()
    assert chosen(6511, 200, 1).tolist() != found.tolist()
    assert set(found.tolist()) < set(chosen(6511, 300, 0).tolist())
    # 27 tasks of 241 examples one behind the other: the first 200 would be of one task.
    assert len(set(found // 242)) == 27


@pytest.mark.parametrize(
    ("size", "count", "seed", "indices"),
    [
        (5, None, 0, [0, 1, 2, 3, 4]),
        (5, 9, 0, [0, 1, 2, 3, 4]),
        (5, 2, None, [0, 1]),
        (None, 3, 0, [0, 1, 2]),
    ],
)
def test_which_examples_are_chosen(size, count, seed, indices):
    assert chosen(size, count, seed).tolist() == indices
