"""Every view of a lazy array reads the same part as NumPy takes of the rearranged whole."""

import ml_dtypes
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tlm_jax import lazy

WHOLE = np.arange(4 * 6 * 5, dtype=np.float32).reshape(4, 6, 5)
OTHER = -WHOLE
PERMUTATION = np.array([3, 0, 5, 1, 4, 2])


def _source(array):
    """A source that refuses anything but what a file can be asked for."""

    def read(index):
        assert all(isinstance(part, slice) and part.step is None for part in index)
        assert len(index) == array.ndim
        assert all(0 <= part.start <= part.stop <= size for part, size in zip(index, array.shape))
        return array[index].copy()

    return lazy.Stored(array.shape, array.dtype, read)


PART = np.array([0, 1, 1, 0, 1, 0, 0])
PLACE = np.array([5, 0, 1, 4, 5, 2, 3])
VIEWS = {
    "transposed": (lambda s: lazy.transposed(s), WHOLE.T),
    "selected": (lambda s: lazy.selected(s, PERMUTATION, axis=1), WHOLE[:, PERMUTATION]),
    "gathered": (
        lambda s: lazy.gathered([s, _source(OTHER)], PART, PLACE, axis=1),
        np.stack([(WHOLE, OTHER)[p][:, i] for p, i in zip(PART, PLACE)], axis=1),
    ),
    "layer": (lambda s: lazy.layer_of(s, 3, axis=1), WHOLE[:, 3]),
    "stacked": (
        lambda s: lazy.stacked([s, _source(OTHER)], axis=1),
        np.stack([WHOLE, OTHER], axis=1),
    ),
    "joined": (lambda s: lazy.joined_axes(s, axis=1), WHOLE.reshape(4, 30)),
    "split": (lambda s: lazy.split_axis(s, 3, axis=1), WHOLE.reshape(4, 2, 3, 5)),
    "cast": (
        lambda s: lazy.cast(s, np.dtype(ml_dtypes.bfloat16)),
        WHOLE.astype(ml_dtypes.bfloat16),
    ),
    "chain": (
        lambda s: lazy.transposed(lazy.joined_axes(lazy.split_axis(s, 3, axis=1), axis=2)),
        WHOLE.reshape(4, 2, 15).T,
    ),
}


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_views_read_what_numpy_takes(data):
    make, expected = VIEWS[data.draw(st.sampled_from(sorted(VIEWS)))]
    view = make(_source(WHOLE))
    assert view.shape == expected.shape
    assert view.dtype == expected.dtype
    bounds = [
        sorted(data.draw(st.tuples(st.integers(0, size), st.integers(0, size))))
        for size in expected.shape
    ]
    index = tuple(slice(a, b) for a, b in bounds)
    np.testing.assert_array_equal(view[index], expected[index])


@given(st.integers(1, 700))
def test_blocks_cover_the_array_once(block_bytes):
    seen = np.zeros(WHOLE.shape, int)
    for index in lazy.blocks(_source(WHOLE), block_bytes):
        seen[index] += 1
    assert (seen == 1).all()


def test_a_scalar_is_one_block():
    assert list(lazy.blocks(_source(np.float32(3).reshape(())), 1)) == [()]


def test_views_undone_are_the_source():
    source = _source(WHOLE)
    assert lazy.transposed(lazy.transposed(source)) is source
    layers = [lazy.layer_of(source, number, axis=1) for number in range(6)]
    assert lazy.stacked(layers, axis=1) is source
    assert lazy.stacked(layers[::-1], axis=1) is not source
    assert lazy.cast(source, np.dtype(np.float32)) is source
