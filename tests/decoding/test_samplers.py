"""Drawn tokens follow the distribution they should, each row on its own."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from tlm_jax.decoding import samplers
from tlm_jax.decoding.samplers import RowSampling, seed_words

DRAWS = 20_000
choose, weights, penalized = (
    jax.jit(function) for function in (samplers.choose, samplers.weights, samplers.penalized)
)


def _rows(number, *, temperature=1.0, top_k=0, top_p=1.0, min_p=0.0, seeds=None):
    full = functools.partial(jnp.full, (number,))
    return RowSampling(
        full(temperature),
        full(top_k),
        full(top_p),
        full(min_p),
        full(1.0),
        jnp.asarray(seed_words(range(number) if seeds is None else seeds)),
    )


def _expected(logits, *, temperature=1.0, top_k=0, top_p=1.0, min_p=0.0):
    """Returns the truncated softmax in float64, by sorting."""
    tempered = np.exp((logits - logits.max()) / temperature)
    tempered /= tempered.sum()
    order = np.argsort(-tempered, kind="stable")
    keep = np.ones(len(logits), bool)
    if top_k:
        keep &= tempered >= tempered[order[min(top_k, len(order)) - 1]]
    if top_p < 1:
        left = np.where(keep, tempered, 0.0)[order]
        number = np.searchsorted(np.cumsum(left / left.sum()), top_p) + 1
        keep &= tempered >= tempered[order[min(number, len(order)) - 1]]
    keep &= tempered >= min_p * tempered.max()
    kept = np.where(keep, tempered, 0.0)
    return kept / kept.sum()


@pytest.mark.parametrize(
    "setting",
    [
        {},
        {"temperature": 0.7},
        {"top_k": 5},
        {"top_p": 0.8},
        {"min_p": 0.1},
        {"temperature": 1.3, "top_k": 40, "top_p": 0.9, "min_p": 0.01},
    ],
    ids=str,
)
def test_frequencies_match_the_truncated_softmax(setting):
    """Chi-square over seeds and over positions; fails by chance once in 10,000 random seeds."""
    logits = np.random.default_rng(1).normal(0, 2, 300).astype(np.float32)
    probability = _expected(logits.astype(np.float64), **setting)
    rows = 1000
    shared = jnp.broadcast_to(jnp.asarray(logits), (rows, len(logits)))
    counts = np.zeros(len(logits))
    for position in range(DRAWS // rows):
        drawn = choose(shared, _rows(rows, **setting), jnp.full(rows, position))
        counts += np.bincount(drawn, minlength=len(logits))
    assert not counts[probability == 0].any()
    # Cells expected less than 5 times are taken together, as the test's approximation wants it.
    rare = probability * DRAWS < 5
    observed = [*counts[~rare], counts[rare].sum()]
    expected = [*(probability[~rare] * DRAWS), probability[rare].sum() * DRAWS]
    if expected[-1] == 0:
        observed, expected = observed[:-1], expected[:-1]
    expected = np.asarray(expected) / np.sum(expected) * DRAWS
    assert scipy.stats.chisquare(observed, expected).pvalue > 1e-4


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 1000),
    spread=st.sampled_from([0.0, 0.3, 3.0, 30.0]),
    top_k=st.integers(0, 40),
    top_p=st.sampled_from([0.05, 0.5, 0.9, 0.999, 1.0]),
    min_p=st.sampled_from([0.0, 0.05, 1.0]),
    temperature=st.sampled_from([0.2, 1.0, 5.0]),
)
def test_weights_keep_what_sorting_would_keep(seed, spread, top_k, top_p, min_p, temperature):
    logits = np.random.default_rng(seed).normal(0, spread, 32).astype(np.float32)
    setting = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "min_p": min_p}
    kept = np.asarray(weights(jnp.asarray(logits)[None], _rows(1, **setting)), np.float64)[0]
    expected = _expected(logits.astype(np.float64), **setting)
    # A token whose cumulative mass is top_p to the last bit may fall on either side.
    np.testing.assert_allclose(kept / kept.sum(), expected, atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize(
    ("top_k", "top_p", "kept"),
    [
        # 0.4, 0.3, 0.2, 0.1: behind a top_k of 2 they are 4/7 and 3/7, behind 3 4/9, 3/9 and 2/9.
        (0, 0.5, 2),
        (2, 0.5, 1),
        (2, 0.6, 2),
        (3, 0.42, 1),
        (3, 0.75, 2),
        (3, 0.8, 3),
    ],
)
def test_top_p_is_of_what_top_k_left(top_k, top_p, kept):
    logits = jnp.log(jnp.asarray([[0.4, 0.3, 0.2, 0.1]]))
    found = np.asarray(weights(logits, _rows(1, top_k=top_k, top_p=top_p)))[0]
    assert np.count_nonzero(found) == kept
    alone = np.asarray(weights(logits, _rows(1, top_p=top_p)))[0]
    beside = _rows(2, top_p=top_p)._replace(top_k=jnp.asarray([top_k, 0]))
    both = np.asarray(weights(jnp.concatenate([logits, logits]), beside))
    np.testing.assert_array_equal(both, [found, alone])


def test_a_draw_depends_on_its_own_row_seed_and_position_only():
    logits = np.random.default_rng(2).normal(0, 1, (6, 500)).astype(np.float32)
    seeds = [5, 5, 2**40 + 5, 7, 2**62, 0]
    together = choose(jnp.asarray(logits), _rows(6, seeds=seeds), jnp.arange(6))
    for row in range(6):
        alone = choose(
            jnp.asarray(logits[row : row + 1]), _rows(1, seeds=[seeds[row]]), jnp.asarray([row])
        )
        assert int(alone[0]) == int(together[row])
    same = jnp.broadcast_to(jnp.zeros(500), (6, 500))
    drawn = np.asarray(choose(same, _rows(6, seeds=seeds), jnp.zeros(6, int)))
    assert drawn[0] == drawn[1]
    assert len(set(drawn)) == 5  # the upper half of a seed counts too
    later = np.asarray(choose(same, _rows(6, seeds=seeds), jnp.ones(6, int)))
    assert (later != drawn).any()


def test_temperature_0_takes_the_most_probable_beside_rows_that_draw():
    logits = jnp.asarray(np.random.default_rng(3).normal(0, 0.1, (64, 200)), jnp.float32)
    rows = _rows(64)._replace(temperature=jnp.arange(64) % 2 * 1.0)
    drawn = np.asarray(choose(logits, rows, jnp.zeros(64, int)))
    best = np.asarray(jnp.argmax(logits, axis=-1))
    np.testing.assert_array_equal(drawn[::2], best[::2])
    assert (drawn[1::2] != best[1::2]).any()


@pytest.mark.parametrize("place", [0, 127, 128, 200])
def test_a_certain_token_is_always_drawn(place):
    logits = jnp.full((500, 201), -1e9).at[:, place].set(3.0)
    assert (choose(logits, _rows(500), jnp.zeros(500, int)) == place).all()


def test_penalty_lowers_seen_tokens_of_either_sign():
    logits = jnp.asarray([[2.0, -2.0, 2.0, -2.0]])
    seen = jnp.asarray([[True, True, False, False]])
    np.testing.assert_allclose(
        penalized(logits, seen, jnp.asarray([1.25])), [[1.6, -2.5, 2.0, -2.0]], rtol=1e-6
    )
