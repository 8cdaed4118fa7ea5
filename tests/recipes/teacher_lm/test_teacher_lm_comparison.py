"""Formats against the first one, by type of question, over seeds."""

import pytest

from tlm_jax.recipes.teacher_lm.comparison import table

TYPES = {"a": "fact", "b": "fact", "c": "sum", "d": "sum"}


def answers(right):
    return {name: name in right for name in TYPES}


def test_a_format_is_compared_question_by_question_with_the_same_seeds():
    rights = {
        ("text", 0): answers("ab"),
        ("text", 1): answers("abc"),
        ("cmf", 0): answers("cd"),
        ("cmf", 1): answers("acd"),
    }
    runs = [{"size": "s", "form": form, "seed": seed} for form, seed in rights]
    found = table(runs, TYPES, lambda run: rights[run["form"], run["seed"]], "text")
    rows = {(row["form"], row["type"]): row for row in found}
    assert (rows["text", "all"]["right"], rows["text", "all"]["asked"]) == (5, 8)
    assert rows["text", "fact"]["change"] is None
    facts, sums = rows["cmf", "fact"]["change"], rows["cmf", "sum"]["change"]
    assert (facts["fixed"], facts["broken"], facts["difference"]) == (0, 3, -0.75)
    assert (sums["fixed"], sums["broken"], sums["difference"]) == (3, 0, 0.75)
    assert rows["cmf", "all"]["change"]["difference"] == 0.0
    assert sums["p_value"] == pytest.approx(0.25)


def test_one_type_alone_is_told_once_and_other_seeds_are_not_compared():
    runs = [{"size": "s", "form": f, "seed": n} for n, f in enumerate(("text", "cmf"))]
    found = table(runs, dict.fromkeys(TYPES, "x"), lambda run: answers("a"), "text")
    assert [(row["form"], row["type"], row["change"]) for row in found] == [
        ("text", "all", None),
        ("cmf", "all", None),
    ]
