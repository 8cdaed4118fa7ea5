"""Keys are found among neighbours that share half of them."""

import numpy as np
import pytest

from tlm_jax.errors import UserError
from tlm_jax.teacher_cache.key_index import KeyIndex, key_bytes, key_of
from tlm_jax.teacher_cache.shard_format import INDEX_DTYPE, example_hash


def index_of(*rows):
    """Each row is (upper half, lower half, digest, example)."""
    index = np.zeros(len(rows), INDEX_DTYPE)
    for number, (high, low, digest, example) in enumerate(rows):
        index[number] = (high, low, np.void(digest), example_hash(example), number, 1, 1)
    return index


def test_keys_are_found():
    top = (1 << 64) - 1
    rows = [(5, 1, b"a" * 8, "x"), (5, 9, b"b" * 8, "y"), (top, top, b"c" * 8, "x")]
    index = KeyIndex([index_of(*rows[:2]), index_of(rows[2], (5, 4, b"d" * 8, "z"))], ["m", "n"])
    keys = [f"{high:016x}{low:016x}" for high, low in ((5, 9), (5, 5), (5, 1), (top, top), (6, 1))]
    places = index.find(keys)
    assert places.tolist() == [2, -1, 0, 3, -1]
    assert [key_of(index.entries[place]) for place in (2, 0, 3)] == [keys[0], keys[2], keys[3]]
    assert index.shards.tolist() == [0, 1, 0, 1]
    assert [key_of(index.entries[p]) for p in index.of_example("x")] == [keys[2], keys[3]]
    assert index.find([]).tolist() == []
    assert key_bytes(keys[2]) == bytes([*[0] * 7, 5, *[0] * 7, 1])


def test_no_shards_hold_no_keys():
    empty = KeyIndex([], [])
    assert len(empty) == 0
    assert empty.find(["0" * 32]).tolist() == [-1]
    assert empty.of_example("x").tolist() == []


def test_equal_rows_count_once_and_others_are_refused():
    row = (7, 7, b"a" * 8, "x")
    assert KeyIndex([index_of(row), index_of(row), index_of(row)], list("mno")).duplicates == 2
    with pytest.raises(UserError, match=r"key 0{15}70{15}7 stands for different rows in m and n"):
        KeyIndex([index_of(row), index_of((7, 7, b"b" * 8, "x"))], ["m", "n"])
