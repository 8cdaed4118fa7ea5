"""Wilson's interval against worked values and against the equation that defines it."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlm_jax.evaluation.intervals import Z_95, wilson


def test_worked_example():
    # p = 0.8, n = 10, z = 1.96: centre (0.8 + 0.19208) / 1.38416, half
    # 1.96 / 1.38416 * sqrt(0.016 + 0.009604) = 0.226581...
    low, high = wilson(8, 10, z=1.96)
    assert low == pytest.approx(0.716738 - 0.226581, abs=2e-6)
    assert high == pytest.approx(0.716738 + 0.226581, abs=2e-6)


def test_no_trials_means_nothing_is_known():
    assert wilson(0, 0) == (0.0, 1.0)


@given(st.integers(1, 2000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_ends_are_where_the_score_test_just_rejects(case):
    successes, trials = case
    low, high = wilson(successes, trials)
    share = successes / trials
    assert 0.0 <= low <= share <= high <= 1.0
    for end in (low, high):
        if 0.0 < end < 1.0:
            score = abs(share - end) / math.sqrt(end * (1 - end) / trials)
            assert score == pytest.approx(Z_95, rel=1e-6)
