"""Groups of questions by hand: values, ranges of numbers, names, and what has no trait."""

import math

import pytest

from tlm_jax.evaluation.breakdown import breakdowns
from tlm_jax.evaluation.intervals import wilson


def test_few_numbers_are_groups_of_their_own():
    traits = [{"steps": 2}, {"steps": 10}, {"steps": 2}, {"steps": 2}, {}]
    found = breakdowns(traits, [True, False, True, False, True])
    low, high = wilson(2, 3)
    two = {"group": "2", "questions": 3, "right": 2, "accuracy": 2 / 3}
    assert found["steps"]["groups"][0] == {**two, "accuracy_low": low, "accuracy_high": high}
    assert [group["group"] for group in found["steps"]["groups"]] == ["2", "10"]
    assert found["steps"]["mean"] == pytest.approx((2 / 3 + 0) / 2)


def test_many_numbers_are_ranges_with_about_as_many_questions():
    words = list(range(1, 101))
    found = breakdowns([{"words": n} for n in words], [n <= 20 for n in words])["words"]["groups"]
    assert [group["group"] for group in found] == ["1–20", "21–40", "41–60", "61–80", "81–100"]
    assert [group["questions"] for group in found] == [20] * 5
    assert [group["right"] for group in found] == [20, 0, 0, 0, 0]


def test_a_number_that_fills_more_than_a_range():
    steps = [3] * 80 + [1, 2, 4, 5, 6, 7, 8] * 2
    found = breakdowns([{"steps": n} for n in steps], [True] * len(steps))["steps"]["groups"]
    assert [(group["group"], group["questions"]) for group in found] == [("1–3", 84), ("4–8", 10)]


def test_interval_of_the_mean_is_that_of_the_normal_for_many_questions():
    rights = [n < 300 for n in range(400)] + [n < 50 for n in range(100)]
    traits = [{"task": "a"}] * 400 + [{"task": "b"}] * 100
    found = breakdowns(traits, rights)["task"]
    deviation = math.sqrt(0.75 * 0.25 / 400 + 0.5 * 0.5 / 100) / 2
    assert found["mean"] == pytest.approx(0.625)
    assert found["mean_low"] == pytest.approx(0.625 - 1.96 * deviation, abs=0.004)
    assert found["mean_high"] == pytest.approx(0.625 + 1.96 * deviation, abs=0.004)


def test_names_are_sorted_and_one_group_says_nothing():
    traits = [{"task": "b", "level": "Level 5"}, {"task": "a", "level": "Level 5"}]
    found = breakdowns(traits, [True, False])
    assert list(found) == ["task"]
    assert [group["group"] for group in found["task"]["groups"]] == ["a", "b"]
    assert breakdowns([], []) == {}
