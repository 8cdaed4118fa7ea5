"""Students side by side: pooled counts, paired differences and intervals, worked out by hand."""

from __future__ import annotations

import pytest

from tlm_jax.evaluation.intervals import wilson
from tlm_jax.recipes.specialization.comparison import pairs, spread, table

SET, PROMPT = "sums", "cot_zero_shot"


def run(loss, seed, rights, nll, mixture="all", start="raw"):
    right = sum(rights.values())
    step = {
        "step": 10,
        "dev": {PROMPT: {"nll_nats": nll, "accuracy": 0.5}},
        "evaluation": {SET: {PROMPT: {"questions": len(rights), "right": right}}},
        "special": right / len(rights),
        "general": None,
    }
    return {
        "mixture": mixture,
        "start": start,
        "loss": loss,
        "seed": seed,
        "steps": [step],
        "chosen": {"place": 0, "step": 10},
        "rights": rights,
    }


RUNS = [
    run("match_sample", 0, {"a": True, "b": False, "c": False, "d": False}, 0.5),
    run("match_sample", 1, {"a": True, "b": True, "c": False, "d": False}, 0.7),
    run("match_distribution", 0, {"a": True, "b": True, "c": True, "d": False}, 0.4),
    run("match_distribution", 1, {"a": False, "b": True, "c": True, "d": False}, 0.5),
]


def rights(one, data_set, prompt):
    assert (data_set, prompt) == (SET, PROMPT)
    return one["rights"]


def test_a_row_for_each_kind_of_student_over_its_seeds():
    sample, distribution = table(RUNS, [SET])
    assert (sample["loss"], sample["seeds"]) == ("match_sample", [0, 1])
    found = distribution["accuracy"][SET][PROMPT]
    assert (found["right"], found["questions"], found["accuracy"]) == (5, 8, 0.625)
    assert (found["accuracy_low"], found["accuracy_high"]) == wilson(5, 8)
    assert sample["nll_nats"][PROMPT]["mean"] == pytest.approx(0.6)
    assert sample["special"]["mean"] == pytest.approx(0.375)
    assert sample["general"]["mean"] is None


def test_one_setting_is_compared_question_by_question_with_the_same_seeds():
    (found,) = pairs(RUNS, [SET], rights)
    assert (found["factor"], found["first"], found["second"]) == (
        "loss",
        "match_sample",
        "match_distribution",
    )
    assert found["seeds"] == [0, 1]
    # Seed 0: b and c become right; seed 1: a breaks and c becomes right.
    assert (found["fixed"], found["broken"], found["questions"]) == (3, 1, 4)
    assert found["difference"] == pytest.approx(2 / 8)
    assert found["difference_low"] <= 0.25 <= found["difference_high"]
    assert found["p_value"] == pytest.approx(2 * (1 + 4) / 16)
    assert found["nll_difference"]["mean"] == pytest.approx(-0.15)
    assert found["nll_difference"]["values"] == pytest.approx([-0.1, -0.2])


def test_only_runs_that_differ_in_one_setting_are_compared():
    other = run("match_distribution", 0, {"a": True, "b": True, "c": True, "d": True}, 0.3, "few")
    found = pairs([*RUNS, other], [SET], rights)
    told = {(one["factor"], one["first"], one["second"]) for one in found}
    assert told == {("loss", "match_sample", "match_distribution"), ("mixture", "all", "few")}
    mixture = next(one for one in found if one["factor"] == "mixture")
    assert (mixture["seeds"], mixture["loss"]) == ([0], "match_distribution")


def test_intervals_over_seeds_are_students():
    assert spread([0.4]) == {"mean": 0.4, "low": None, "high": None, "values": [0.4]}
    two = spread([0.4, 0.6])
    # Half the range, over the root of two, times the quantile of one degree of freedom.
    assert two["high"] - two["mean"] == pytest.approx(12.706 * 0.1)
    three = spread([0.1, 0.2, 0.3])
    assert three["high"] - three["mean"] == pytest.approx(4.303 * 0.1 / 3**0.5)
