"""Draws come back exactly, and their mean is the distribution they were drawn from."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tlm_jax.errors import UserError
from tlm_jax.teacher_cache import Sampled, steps_from_draws
from tlm_jax.teacher_cache.steps import StepDistributions


def test_draws_by_hand():
    draws = np.array([[3, 9, 3, 3], [5, 5, 5, 5], [4, 3, 2, 1], [0, 0, 8, 8]], np.int32)
    steps = steps_from_draws(draws, np.array([1, 1, 1, 0], np.float32))
    assert steps.ids.tolist() == [[3, 9, 0, 0], [5, 0, 0, 0], [1, 2, 3, 4], [0, 0, 0, 0]]
    counts = 4 * np.exp(steps.logprobs)
    np.testing.assert_allclose(
        counts, [[3, 1, 0, 0], [4, 0, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0]], rtol=1e-6
    )
    assert np.isneginf(steps.tail_logprobs).all()


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32), num_draws=st.integers(1, 20), num_steps=st.integers(0, 30))
def test_draws_come_back_exactly(through, seed, num_draws, num_steps):
    random = np.random.default_rng(seed)
    draws = np.minimum(random.geometric(0.2, (num_steps, num_draws)), 99).astype(np.int32)
    steps = steps_from_draws(draws, random.integers(0, 2, num_steps).astype(np.float32))
    found = through(Sampled(num_draws), steps)
    for name in ("ids", "logprobs", "tail_logprobs", "weights"):
        np.testing.assert_array_equal(getattr(found, name), getattr(steps, name))


def test_the_mean_target_is_the_distribution(through):
    """Chi-square: counts of 12 draws of each of 4,000 steps against the distribution drawn from.

    With 29 degrees of freedom the statistic exceeds 58.3 once in 1,000 (the 99.9 % quantile); the
    seed is fixed.
    """
    random = np.random.default_rng(7)
    probabilities = random.dirichlet(np.full(30, 0.5))
    draws = random.choice(30, (4000, 12), p=probabilities).astype(np.int32)
    steps = through(Sampled(12), steps_from_draws(draws, np.ones(4000, np.float32)))
    targets = np.zeros(30)
    np.add.at(targets, steps.ids, np.exp(steps.logprobs.astype(np.float64)))
    np.testing.assert_allclose(targets.sum(), 4000, rtol=1e-6)
    expected = 4000 * 12 * probabilities
    statistic = ((12 * targets - expected) ** 2 / expected).sum()
    assert statistic < 58.3
    # A target that keeps the 12 most probable candidates alone would be far off.
    top = np.where(probabilities >= np.sort(probabilities)[-12], probabilities, 0)
    biased = 4000 * 12 * top / top.sum()
    assert ((biased - expected) ** 2 / expected).sum() > 10 * 58.3


@pytest.mark.parametrize(
    ("shares", "tail"),
    [([0.5, 0.3, 0.2], 0.0), ([0.5, 0.25], 0.25)],
    ids=["not quarters", "a tail"],
)
def test_what_is_no_draw_is_refused(through, shares, tail):
    with np.errstate(divide="ignore"):
        steps = StepDistributions(
            np.arange(len(shares), dtype=np.int32)[None],
            np.log(np.array([shares], np.float32)),
            np.log(np.array([tail], np.float32)),
            np.ones(1, np.float32),
        )
    with pytest.raises(UserError, match="not counts of 4 draws"):
        through(Sampled(4), steps)


def test_number_of_draws_is_checked():
    with pytest.raises(UserError, match="num_draws must be 1"):
        Sampled(0)
