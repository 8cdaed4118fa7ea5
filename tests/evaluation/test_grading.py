"""Grading by the strict rules; on real model output in rules/test_grading_rules.py, too."""

import pytest

from tlm_jax.data.records import read_json_lines, read_records
from tlm_jax.evaluation.grading import Graded, grade, same_answer, votes
from tlm_jax.evaluation.outcomes import Sample, curve, majority_question
from tlm_jax.evaluation.statistics import majority


@pytest.mark.parametrize(
    ("kind", "text", "gold", "graded"),
    [
        ("numeric", "The answer is 1,000.", "1000", Graded("1000", True)),
        ("numeric", "The answer is 1,000.", "2000", Graded("1000", False)),
        ("numeric", "The answer is 0.3333333", "1/3", Graded("0.3333333", True)),
        ("numeric", "The answer is 0", "0", Graded("0", True)),
        ("numeric", "The answer is none", "0", Graded(None, False)),
        ("choice", "the answer is (b)", "B", Graded("B", True)),
        ("boolean", "The answer is false", "no", Graded("no", True)),
        ("text", "The answer is  new   york.", "new york", Graded("new   york", True)),
        ("text", "The answer is New York", "new york", Graded("New York", False)),
        ("text", "The answer is invalid", "valid", Graded("invalid", False)),
    ],
)
def test_grading(kind, text, gold, graded):
    assert grade(kind, text, gold, ("x", "y")) == graded


def test_an_unreadable_gold_number_is_never_equal():
    assert not same_answer("numeric", "5", "five")


def test_gold_rationales_grade_as_right(shared_dir):
    for record in read_records(shared_dir / "data/gsm8k_test.jsonl.gz"):
        text = f"{record.rationale}\n#### {record.meta['answer_raw']}"
        assert grade("numeric", text, record.answer).correct, record.id


def test_published_bbh_accuracies_are_reproduced(shared_dir):
    right, count, published = {}, {}, {}
    for _, row in read_json_lines(shared_dir / "data/bbh_codex_cot_outputs.jsonl.gz"):
        task = row["task"]
        graded = grade("text", row["prediction"], row["target"])
        right[task] = right.get(task, 0) + graded.correct
        count[task] = count.get(task, 0) + 1
        published[task] = row["task_accuracy"]
    for task, accuracy in published.items():
        assert 100 * right[task] / count[task] == pytest.approx(float(accuracy), abs=1e-6), task


def test_answers_that_mean_the_same_vote_together():
    pytest.importorskip("math_verify", reason="needs the extra 'math'")
    answers = ["0.5", "\\frac{1}{2}", "3", "3", None, "\\frac12"]
    ballots = votes("math", answers)
    assert ballots == ["0.5", "0.5", "3", "3", None, "0.5"]
    assert majority(ballots) == "0.5"
    assert votes("numeric", ["0.3333333", "0.33333334", "1"]) == ["0.3333333", "0.3333333", "1"]
    assert votes("official_bbh_substring", ["a b", "a"]) == ["a b", "a"]
    samples = [Sample(a or "", a, v == "0.5", vote=v) for a, v in zip(answers, ballots)]
    question = majority_question("q", "?", "1/2", samples)
    assert (question.answer, question.right) == ("0.5", True)
    assert curve([question])[-1]["maj"] == 1
