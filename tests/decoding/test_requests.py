"""What requests refuse, and where a sequence begins to repeat itself."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlm_jax.decoding.requests import LONGEST_REPEAT_TOKENS, Sampling, repeats
from tlm_jax.errors import UserError


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_new_tokens", 0),
        ("temperature", -0.1),
        ("temperature", float("nan")),
        ("top_k", -1),
        ("top_p", 0.0),
        ("top_p", 1.5),
        ("min_p", 2.0),
        ("repetition_penalty", 0.0),
        ("max_repeats", 1),
    ],
)
def test_settings_out_of_range_are_named(name, value):
    with pytest.raises(UserError, match=rf"Sampling\.{name} is .*: expected"):
        Sampling(**{name: value})


def _slow_repeats(tokens, times, start):
    for end in range(start + 1, len(tokens) + 1):
        for period in range(1, LONGEST_REPEAT_TOKENS + 1):
            run = tokens[max(0, end - period) : end]
            if end >= period * times and tokens[end - period * times : end] == run * times:
                return end
    return None


@given(st.lists(st.integers(0, 2), max_size=40), st.integers(2, 4), st.integers(0, 10))
def test_finds_the_first_repetition(tokens, times, start):
    assert repeats(tokens, times, start=start) == _slow_repeats(tokens, times, start)


def test_long_runs_count_up_to_the_limit():
    run = list(range(LONGEST_REPEAT_TOKENS))
    assert repeats([9, *run, *run, *run], 3) == 1 + 3 * len(run)
    longer = list(range(LONGEST_REPEAT_TOKENS + 1))
    assert repeats(longer * 3, 3) is None
