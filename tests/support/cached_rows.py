"""Rows of a cache, compared with what was written."""

import numpy as np

from tlm_jax.teacher_cache import TeacherCache
from tlm_jax.teacher_cache.steps import content_key


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
