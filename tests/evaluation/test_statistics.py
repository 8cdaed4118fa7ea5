"""Votes, pass@k, intervals and paired tests: worked by hand, and against brute force."""

import itertools
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tlm_jax.evaluation import statistics

answers = st.lists(st.sampled_from(["a", "b", "c", None]), min_size=1, max_size=9)


@pytest.mark.parametrize(
    ("given_", "winner"),
    [
        (["3", "4", "4"], "4"),
        (["3", "4", "4", "3"], "3"),  # a tie: the first seen
        ([None, "5", None, None], "5"),  # what does not parse does not vote
        ([None, None], None),
        ([], None),
    ],
)
def test_majority_by_hand(given_, winner):
    assert statistics.majority(given_) == winner


@given(answers)
def test_majority_is_what_counter_says(given_):
    votes = Counter(a for a in given_ if a is not None).most_common(1)
    assert statistics.majority(given_) == (votes[0][0] if votes else None)


def test_pass_at_k_by_hand():
    assert statistics.pass_at_k(4, 1, 1) == pytest.approx(0.25)
    assert statistics.pass_at_k(4, 1, 2) == pytest.approx(0.5)  # 3 of the 6 pairs have it
    assert statistics.pass_at_k(5, 2, 3) == pytest.approx(1 - 1 / 10)
    assert statistics.pass_at_k(5, 0, 5) == 0.0
    assert statistics.pass_at_k(5, 1, 5) == 1.0


@given(
    st.integers(1, 9).flatmap(
        lambda n: st.tuples(st.lists(st.booleans(), min_size=n, max_size=n), st.integers(1, n))
    )
)
def test_pass_at_k_counts_subsets(case):
    right, k = case
    subsets = list(itertools.combinations(right, k))
    expected = sum(map(any, subsets)) / len(subsets)
    assert statistics.pass_at_k(len(right), sum(right), k) == pytest.approx(expected, abs=1e-12)


def test_pass_at_k_of_many_samples_stays_exact():
    expected = 1 - math.comb(9_900, 500) / math.comb(10_000, 500)
    assert statistics.pass_at_k(10_000, 100, 500) == pytest.approx(expected, abs=1e-12)


def test_maj_at_k_by_hand():
    # Pairs of a, b, b with a right: (a, b) is a tie and a was first, twice; (b, b) is wrong.
    assert statistics.maj_at_k(["a", "b", "b"], [True, False, False], 2) == pytest.approx(2 / 3)
    assert statistics.maj_at_k(["a", "b", "b"], [True, False, False], 3) == 0.0
    assert statistics.maj_at_k(["a", "b", "b"], [True, False, False], 1) == pytest.approx(1 / 3)
    assert statistics.maj_at_k([None, "a"], [False, True], 2) == 1.0
    assert statistics.maj_at_k([None, None], [False, False], 2) == 0.0


@settings(deadline=None)
@given(answers.flatmap(lambda a: st.tuples(st.just(a), st.integers(1, len(a)))))
def test_maj_at_k_counts_subsets(case):
    given_, k = case
    subsets = [statistics.majority(s) for s in itertools.combinations(given_, k)]
    expected = sum(s == "a" for s in subsets) / len(subsets)
    correct = [a == "a" for a in given_]
    assert statistics.maj_at_k(given_, correct, k) == pytest.approx(expected, abs=1e-12)


def test_maj_at_k_draws_where_subsets_are_too_many():
    given_ = ["a"] * 24 + ["b"] * 16
    correct = [a == "a" for a in given_]
    found = statistics.maj_at_k(given_, correct, 5, draws=20_000)
    # Hypergeometric: at least 3 of 5 are a.
    expected = sum(math.comb(24, i) * math.comb(16, 5 - i) for i in (3, 4, 5)) / math.comb(40, 5)
    assert found == pytest.approx(expected, abs=4 * 0.5 / math.sqrt(20_000))
    assert found == statistics.maj_at_k(given_, correct, 5, draws=20_000)
    assert statistics.maj_at_k(given_, correct, 40) == 1.0


def test_curve_has_powers_of_two_and_the_end():
    assert statistics.curve_ks(1) == [1]
    assert statistics.curve_ks(8) == [1, 2, 4, 8]
    assert statistics.curve_ks(40) == [1, 2, 4, 8, 16, 32, 40]


def test_mcnemar_by_hand():
    assert statistics.mcnemar(0, 0) == 1.0
    assert statistics.mcnemar(5, 0) == pytest.approx(2 / 32)
    assert statistics.mcnemar(1, 8) == pytest.approx(2 * (1 + 9) / 2**9)
    assert statistics.mcnemar(3, 3) == 1.0
    assert statistics.mcnemar(2_000, 1_800) == pytest.approx(0.001244, rel=0.05)  # normal: 0.00118


@given(st.integers(0, 8), st.integers(0, 8))
def test_mcnemar_counts_coin_tosses(fixed, broken):
    n = fixed + broken
    least = min(fixed, broken)
    outcomes = [sum(tosses) for tosses in itertools.product([0, 1], repeat=min(n, 10))]
    if n <= 10:
        tail = sum(heads <= least or heads >= n - least for heads in outcomes) / len(outcomes)
        assert statistics.mcnemar(fixed, broken) == pytest.approx(min(1.0, tail))
    assert statistics.mcnemar(fixed, broken) == statistics.mcnemar(broken, fixed)


def test_compare_by_hand():
    first = np.asarray([1, 1, 0, 0, 1, 0, 0, 0, 1, 1], bool)
    second = np.asarray([1, 0, 1, 1, 1, 1, 1, 0, 1, 1], bool)
    found = statistics.compare(first, second)
    assert (found.questions, found.fixed, found.broken) == (10, 4, 1)
    assert found.difference == pytest.approx(0.3)
    assert found.p_value == pytest.approx(2 * 6 / 32)
    low, high = found.interval
    assert -0.3 <= low < 0.3 < high <= 0.8
    assert statistics.compare(first, first)[3:] == (0.0, (0.0, 0.0), 1.0)


def test_bootstrap_interval_is_that_of_the_normal_for_many_questions():
    values = np.random.default_rng(0).random(3_000)
    low, high = statistics.bootstrap(values, resamples=4_000)
    error = statistics.standard_error(values)
    assert low == pytest.approx(values.mean() - 1.96 * error, abs=0.1 * error)
    assert high == pytest.approx(values.mean() + 1.96 * error, abs=0.1 * error)
    assert (low, high) == statistics.bootstrap(values, resamples=4_000)


def test_bootstrap_covers_the_truth_as_often_as_it_says():
    generator = np.random.default_rng(1)
    hits = 0
    for trial in range(200):
        low, high = statistics.bootstrap(generator.random(40), resamples=400, seed=trial)
        hits += low <= 0.5 <= high
    # Binomial(200, about 0.94): outside this range once in 10,000.
    assert 172 <= hits <= 199


def test_few_values_give_no_false_precision():
    assert all(map(math.isnan, statistics.bootstrap(np.zeros(0))))
    assert statistics.bootstrap(np.asarray([0.25])) == (0.25, 0.25)
    assert math.isnan(statistics.standard_error(np.asarray([1.0])))
    assert statistics.standard_error(np.asarray([0.0, 1.0])) == pytest.approx(0.5)
    assert math.isnan(statistics.mean_over_questions([]))
