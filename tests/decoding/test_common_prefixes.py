"""Prompts are divided by what they begin with where that saves work."""

import dataclasses

import numpy as np
import pytest

from tlm_jax.decoding.common_prefixes import (
    FEWEST_TOKENS,
    WORTH_TOKENS_A_ROW,
    by_prefix,
    common_prefixes,
)
from tlm_jax.decoding.requests import Request

FIRST, SECOND = tuple(range(1, 101)), tuple(range(201, 261))


def _behind(*prefixes, number=20, start=300):
    """Returns prompts, each with a last token of its own."""
    tokens = [token for prefix in prefixes for token in prefix]
    return [[*tokens, start + index] for index in range(number)]


def test_one_that_all_prompts_have():
    assert common_prefixes(_behind(FIRST), rows=4) == [FIRST]


def test_each_data_set_has_its_own():
    prompts = _behind((7,), FIRST) + _behind((7,), SECOND, number=30)
    assert common_prefixes(prompts, rows=4) == [(7, *SECOND), (7, *FIRST)]


def test_some_go_on_alike():
    prompts = _behind(FIRST, SECOND) + _behind(FIRST)
    assert sorted(common_prefixes(prompts, rows=4)) == [FIRST, FIRST + SECOND]
    # So few rows more do not pay for a turn of their own.
    assert common_prefixes(_behind(FIRST, SECOND, number=3) + _behind(FIRST), rows=4) == [FIRST]


def test_short_ones_and_single_prompts_are_left():
    assert common_prefixes(_behind(FIRST[: FEWEST_TOKENS - 1], number=500), rows=4) == []
    assert common_prefixes([[*FIRST, 5]], rows=4) == []
    assert common_prefixes([[3], [4, 5], []], rows=4) == []
    assert common_prefixes([], rows=4) == []


def test_a_prefix_has_to_pay():
    number = WORTH_TOKENS_A_ROW * 4 // len(FIRST) + 1  # saves one prompt less
    assert common_prefixes(_behind(FIRST, number=number), rows=4) == []
    assert common_prefixes(_behind(FIRST, number=number + 1), rows=4) == [FIRST]
    # Rows that no prompt fills cost nothing.
    assert common_prefixes(_behind(FIRST, number=5), rows=4096) == []
    assert common_prefixes(_behind(FIRST, SECOND, number=6), rows=4096) == [FIRST + SECOND]


def test_each_prompt_keeps_a_token():
    assert common_prefixes([list(FIRST)] * 20, rows=4) == [FIRST[:-1]]
    prompts = [list(FIRST[:50]), *_behind(FIRST)]
    assert common_prefixes(prompts, rows=4) == [FIRST]
    ((prefix, some), (none, rest)) = _divided(_requests(prompts), [FIRST])
    assert (prefix, none) == (FIRST, ())
    assert [request.id for request in some] == list(range(1, 21))
    assert [request.id for request in rest] == [0]


def test_prompts_within_each_other_need_no_recursion():
    prompts = [list(range(1, length)) for length in range(1, 1500)]
    assert all(tuple(prompts[-1][: len(p)]) == p for p in common_prefixes(prompts, rows=8))


def test_numpy_prompts_and_ids_that_no_model_has():
    prompts = [np.asarray(prompt) for prompt in _behind(FIRST)]
    assert common_prefixes([*prompts, [2**40, -1]], rows=4) == [FIRST]


def test_the_longest_prefix_that_a_request_has():
    requests = _requests([*_behind(FIRST, number=2), *_behind(FIRST, SECOND, number=1), [9]])
    divided = {
        prefix: [request.id for request in some]
        for prefix, some in _divided(requests, [FIRST, FIRST + SECOND, (8,)])
    }
    assert divided == {FIRST: [0, 1], FIRST + SECOND: [2], (): [3]}


def test_without_prefixes_requests_are_taken_one_by_one():
    taken = []

    def requests():
        for request in _requests([[1], [2]]):
            taken.append(request.id)
            yield request

    ((prefix, some),) = _divided(requests(), [])
    assert prefix == ()
    assert taken == []
    assert [request.id for request in some] == [0, 1]


@pytest.mark.parametrize("seed", range(20))
def test_every_prefix_is_shared(seed):
    random = np.random.default_rng(seed)
    prompts = []
    while len(prompts) < 60:
        begin = list(random.integers(0, 2, random.integers(0, 4)).repeat(20).tolist())
        prompts += [
            [*begin, *random.integers(0, 3, random.integers(1, 30)).tolist()]
            for _ in range(random.integers(1, 20))
        ]
    found = common_prefixes(prompts, rows=1)
    assert len(set(found)) == len(found)
    parts = {p: list(some) for p, some in _divided(_requests(prompts), found)}
    assert sorted(r.id for some in parts.values() for r in some) == list(range(len(prompts)))
    for prefix in found:
        assert len(prefix) >= FEWEST_TOKENS
        assert len(parts[prefix]) >= 2
        assert all(tuple(r.prompt[: len(prefix)]) == prefix for r in parts[prefix])
        assert all(len(r.prompt) > len(prefix) for r in parts[prefix])


def _requests(prompts):
    empty = Request(id=0, prompt=[1])
    return [dataclasses.replace(empty, id=n, prompt=prompt) for n, prompt in enumerate(prompts)]


def _divided(requests, prefixes):
    return by_prefix(requests, prefixes, lambda request: request.prompt)
