"""Figures of an outcome and of a pair of them, worked by hand."""

import dataclasses
import json

import pytest

from tlm_jax.evaluation.outcomes import (
    Outcome,
    Question,
    Sample,
    as_lines,
    compared,
    curve,
    hardest,
    majority_question,
)


def _samples(*answers, right="4"):
    return [Sample(f"so {a}", a, a == right) for a in answers]


def _question(name, right, text="The answer is 4"):
    sample = Sample(text, "4" if right else "5", right)
    return Question(name, "2 + 2?", "4", sample.extracted, right, (sample,))


def _outcome(checkpoint, **right):
    questions = tuple(_question(name, value) for name, value in right.items())
    return Outcome(checkpoint, "sums", "greedy", questions)


def test_majority_decides_and_no_answer_is_wrong():
    question = majority_question("a", "2 + 2?", "4", _samples("5", "4", "4", None))
    assert (question.answer, question.right) == ("4", True)
    question = majority_question("a", "2 + 2?", "4", _samples("5", "4"))
    assert (question.answer, question.right) == ("5", False)
    question = majority_question("a", "2 + 2?", "4", _samples(None, None))
    assert (question.answer, question.right) == (None, False)


def test_margin_of_votes_is_right_less_the_most_frequent_wrong_answer():
    question = majority_question("a", "", "4", _samples("4", "4", "5", "6", None))
    assert question.margin == pytest.approx((2 - 1) / 5)
    assert question.share_right == pytest.approx(2 / 5)
    assert majority_question("a", "", "4", _samples("5", "5", "4")).margin == pytest.approx(-1 / 3)
    assert majority_question("a", "", "4", _samples(None)).margin == 0


def test_hardest_by_share_over_checkpoints_then_by_margin():
    def outcome(checkpoint, **margins):
        return Outcome(
            checkpoint,
            "sums",
            "rank",
            tuple(
                dataclasses.replace(_question(name, margin > 0), margin=margin)
                for name, margin in margins.items()
            ),
        )

    first = outcome("one", a=2.0, b=-1.0, c=-3.0, d=1.0, only_here=-9.0)
    second = outcome("two", d=-0.5, c=-1.0, b=-1.0, a=1.0)
    assert hardest([first, second]) == ["c", "b", "d", "a"]
    assert hardest([first])[0] == "only_here"
    assert hardest([]) == []


def test_summary_tells_accuracy_by_trait():
    traits = [{"steps": 1, "words": 9}, {"steps": 1, "words": 9}, {"steps": 2, "words": 9}]
    questions = [
        dataclasses.replace(_question(name, right), traits=found)
        for name, right, found in zip("abc", (True, False, True), traits)
    ]
    by = Outcome("one", "sums", "greedy", tuple(questions)).summary()["by"]
    assert list(by) == ["steps"]
    assert [(g["group"], g["right"], g["questions"]) for g in by["steps"]["groups"]] == [
        ("1", 1, 2),
        ("2", 1, 1),
    ]
    assert by["steps"]["mean"] == pytest.approx(0.75)


def test_curve_is_the_mean_over_questions():
    questions = [
        majority_question("a", "", "4", _samples("4", "5", "5")),
        majority_question("b", "", "4", _samples("4", "4", "4")),
    ]
    rows = curve(questions)
    assert [row["k"] for row in rows] == [1, 2, 3]
    assert [row["maj"] for row in rows] == pytest.approx([(1 / 3 + 1) / 2, (2 / 3 + 1) / 2, 0.5])
    assert [row["pass"] for row in rows] == pytest.approx([(1 / 3 + 1) / 2, (2 / 3 + 1) / 2, 1.0])
    for row in rows:
        for name in ("maj", "pass"):
            assert row[f"{name}_low"] <= row[name] <= row[f"{name}_high"]
    assert curve([]) == []


def test_summary_by_hand():
    figures = _outcome("one", a=True, b=False, c=True, d=True).summary()
    assert (figures["questions"], figures["right"], figures["accuracy"]) == (4, 3, 0.75)
    assert figures["accuracy_low"] == pytest.approx(0.3006, abs=1e-4)
    assert figures["accuracy_high"] == pytest.approx(0.9544, abs=1e-4)
    assert figures["standard_error"] == pytest.approx(0.25)
    assert "curve" not in figures


def test_nothing_graded_gives_figures_that_json_can_hold():
    figures = _outcome("one").summary()
    assert figures["accuracy"] is None
    assert figures["standard_error"] is None
    json.dumps(figures, allow_nan=False)
    json.dumps(compared(_outcome("one"), _outcome("two")), allow_nan=False)


def test_compares_by_id_what_both_were_asked():
    first = _outcome("one", a=True, b=True, c=False, x=True)
    second = _outcome("two", c=True, a=True, b=False, y=False)
    found = compared(first, second)
    assert (found["questions"], found["fixed"], found["broken"]) == (3, 1, 1)
    assert (found["newly_broken"], found["newly_right"]) == (["b"], ["c"])
    assert (found["difference"], found["p_value"]) == (0.0, 1.0)


def test_lines_hold_every_sample():
    (line,) = as_lines(_outcome("one", a=True))
    assert line["samples"][0]["text"] == "The answer is 4"
    assert (line["id"], line["right"]) == ("a", True)
