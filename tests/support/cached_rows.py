"""Rows of a cache: small ones to write, and what is read compared with what was written."""

import ml_dtypes
import numpy as np

from tlm_jax.teacher_cache import StoredUnembedding, TeacherCache
from tlm_jax.teacher_cache.steps import HiddenSteps, TeacherRow, content_key


def keys_of(numbers):
    return sorted(content_key(f"text {number}") for number in numbers)


def check_holds(directory, numbers, row_of):
    cache = TeacherCache.open(directory)
    assert list(cache.keys()) == keys_of(numbers)
    for number in numbers:
        wrote = row_of(number)
        found = cache.get(wrote.key)
        assert found.example_id == wrote.example_id
        assert found.token_ids.tolist() == wrote.token_ids.tolist()
        assert found.steps.ids.tolist() == wrote.steps.ids.tolist()
        np.testing.assert_allclose(found.steps.logprobs, wrote.steps.logprobs, atol=0.01)
        np.testing.assert_allclose(found.steps.tail_logprobs, wrote.steps.tail_logprobs, atol=0.01)
    return cache


def flip_bits(path, place, mask=1):
    """Changes bits of the byte at `place` of a file."""
    data = bytearray(path.read_bytes())
    data[place] ^= mask
    path.write_bytes(data)


def hidden_row(number, width=8):
    random = np.random.default_rng(number)
    steps = 4 + number
    hidden = random.standard_normal((steps, width)).astype(ml_dtypes.bfloat16)
    weights = (np.arange(steps) != 1).astype(np.float32)
    hidden[1] = np.nan  # dropped
    tokens = random.integers(0, 100, steps).astype(np.int32)
    return TeacherRow(content_key(str(number)), f"e{number}", tokens, HiddenSteps(hidden, weights))


def unembedding(dtype=ml_dtypes.bfloat16):
    random = np.random.default_rng(0)
    matrix = random.standard_normal((8, 100)).astype(dtype)
    return StoredUnembedding(matrix, 0.5, 30.0, random.standard_normal(100).astype(np.float32))
