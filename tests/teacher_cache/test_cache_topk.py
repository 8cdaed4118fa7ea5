"""Cached candidates are as near as stated, sum to 1, and nonsense is refused."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tlm_jax.errors import UserError
from tlm_jax.teacher_cache import TopK
from tlm_jax.teacher_cache.steps import StepDistributions


def one_step(logprobs, tail=-np.inf, ids=None, weight=1.0):
    ids = np.arange(len(logprobs)) if ids is None else np.array(ids)
    return StepDistributions(
        ids[None].astype(np.int32),
        np.array([logprobs], np.float32),
        np.array([tail], np.float32),
        np.array([weight], np.float32),
    )


@settings(max_examples=50, deadline=None)
@given(
    negative_logits=st.lists(st.floats(0, 4000), min_size=1, max_size=12),
    tail_logit=st.one_of(st.none(), st.floats(0, 4000)),
)
def test_the_error_is_at_most_a_hundredth_of_a_nat(through, negative_logits, tail_logit):
    """Also of probabilities far below what float32 can hold."""
    logits = -np.sort(np.array(negative_logits, np.float64))
    everything = np.append(logits, -np.inf if tail_logit is None else -tail_logit)
    normalizer = np.logaddexp.reduce(everything)
    logprobs = (logits - normalizer).astype(np.float32)
    tail = np.float32(everything[-1] - normalizer)
    found = through(TopK(12), one_step(logprobs, tail))
    count = len(logprobs)
    assert np.abs(found.logprobs[0, :count] - logprobs).max() <= TopK.max_error_nats == 0.01
    assert np.isneginf(found.logprobs[0, count:]).all()
    if np.isfinite(tail):
        assert abs(found.tail_logprobs[0] - tail) <= 0.01
    else:
        assert np.isneginf(found.tail_logprobs[0])
    total = np.exp(found.logprobs[0]).sum() + np.exp(found.tail_logprobs[0])
    assert abs(total - 1) < 1e-5
    assert (np.diff(found.logprobs[0, :count]) <= 0).all()
    assert found.ids[0].tolist() == [*range(count), *[0] * (12 - count)]


def test_steps_by_hand(through):
    steps = StepDistributions(
        np.array([[5, 9, 2], [7, 0, 0], [1, 0, 0]], np.int32),
        np.log(np.array([[0.5, 0.25, 0.125], [1, 0, 0], [0.5, 0, 0]], np.float32) + 1e-45),
        np.log(np.array([0.125, 1e-45, 0.5], np.float32)),
        np.array([1, 0, 1], np.float32),
    )
    steps = dataclasses.replace(
        steps, logprobs=np.where(steps.logprobs < -80, -np.inf, steps.logprobs).astype(np.float32)
    )
    found = through(TopK(3), steps)
    assert found.weights.tolist() == [1, 0, 1]
    assert found.ids.tolist() == [[5, 9, 2], [0, 0, 0], [1, 0, 0]]
    np.testing.assert_allclose(np.exp(found.logprobs[0]), [0.5, 0.25, 0.125], rtol=0.01)
    assert np.isneginf(found.logprobs[1]).all()
    assert np.isneginf(found.tail_logprobs[1])
    np.testing.assert_allclose(np.exp(found.tail_logprobs[[0, 2]]), [0.125, 0.5], rtol=0.01)


def test_more_candidates_than_wanted_go_to_the_tail(through):
    logprobs = np.log([0.1, 0.4, 0.3, 0.15])  # not in order
    found = through(TopK(2), one_step(logprobs, math.log(0.05)))
    assert found.ids.tolist() == [[1, 2]]
    np.testing.assert_allclose(np.exp(found.logprobs[0]), [0.4, 0.3], rtol=0.01)
    np.testing.assert_allclose(np.exp(found.tail_logprobs[0]), 0.3, rtol=0.01)


@pytest.mark.parametrize(
    ("mass", "kept"), [(0.4, 1), (0.41, 2), (0.7, 2), (0.8, 3), (0.95, 4), (1.0, 4)]
)
def test_the_fewest_candidates_that_reach_a_mass(through, mass, kept):
    found = through(TopK(8, mass=mass), one_step(np.log([0.4, 0.3, 0.15, 0.1]), math.log(0.05)))
    assert np.isfinite(found.logprobs[0]).sum() == kept
    assert found.ids.shape == (1, 8)
    outside = 1 - [0.4, 0.7, 0.85, 0.95][kept - 1]
    np.testing.assert_allclose(np.exp(found.tail_logprobs[0]), outside, rtol=0.01)


def test_sums_within_rounding_are_normalised(through):
    found = through(TopK(2), one_step(np.log([0.6, 0.4007])))
    assert abs(np.exp(found.logprobs).sum() - 1) < 1e-6
    np.testing.assert_allclose(found.logprobs[0], np.log([0.6, 0.4]), atol=0.011)


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        (one_step(np.log([0.6, 0.45])), r"sum to 1\.05, above 1"),
        (one_step(np.log([0.6, 0.3])), r"sum to 0\.9; expected 1, with the mass"),
        (one_step([math.log(0.6), -np.inf, math.log(0.4)]), "candidate 1 .* probability 0"),
        (one_step([0, -np.inf], ids=[3, 4]), "candidate 1 .id 4. has probability 0"),
        (one_step([-np.inf, -np.inf], 0, ids=[0, 0]), "weight 1 but no candidates"),
        (one_step([np.nan, 0]), "log-probability nan"),
        (one_step([0, -10_000.0]), "masked logit"),
        (one_step(np.log([0.5, 0.5]), np.nan), "outside the candidates is nan"),
        (one_step(np.log([0.5, 0.5]), ids=[4, 4]), "candidate id 4 occurs twice"),
        (one_step(np.log([0.5, 0.5]), ids=[4, 100]), "id 100 is outside the teacher's vocabulary"),
        (one_step(np.log([0.5, 0.5]), ids=[4, -1]), "id -1 is outside"),
        (one_step(np.log([0.5, 0.5]), weight=0.5), "weight 0.5; expected 0 .dropped. or 1"),
    ],
)
def test_nonsense_is_refused(through, steps, message):
    with pytest.raises(UserError, match=message):
        through(TopK(3), steps)


def test_what_a_dropped_step_holds_does_not_matter(through):
    found = through(TopK(2), one_step([np.nan, 5.0], np.nan, ids=[4, 4], weight=0.0))
    assert found.weights.tolist() == [0]


def test_tokens_and_steps_must_agree(through):
    with pytest.raises(UserError, match="2 token ids but 1 steps"):
        through(TopK(1), one_step([0.0]), token_ids=np.zeros(2, np.int32))
    with pytest.raises(UserError, match="scored token id 100 is outside"):
        through(TopK(1), one_step([0.0]), token_ids=np.array([100], np.int32))


@pytest.mark.parametrize("settings", [{"num_candidates": 0}, {"num_candidates": 1, "mass": 1.5}])
def test_settings_are_checked(settings):
    with pytest.raises(UserError, match="topk: "):
        TopK(**settings)


@pytest.mark.parametrize("shape", [(0, 3), (0, 0), (2, 0)])
def test_rows_without_steps_or_candidates(through, shape):
    nothing = np.zeros(shape, np.float32)
    zeros = np.zeros(shape[0], np.float32)
    found = through(TopK(2), StepDistributions(nothing.astype(np.int32), nothing, zeros, zeros))
    assert found.ids.shape == (shape[0], 2)
    assert not found.weights.any()
