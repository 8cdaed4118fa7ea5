"""Mathematics is graded by meaning, and nothing that a model writes holds grading up."""

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("math_verify", reason="needs the extra 'math'")

from tlm_jax.errors import UserError
from tlm_jax.evaluation.file_grading import FieldNames, grade_file
from tlm_jax.evaluation.grading import extract, grade
from tlm_jax.evaluation.rules import math_process
from tlm_jax.evaluation.rules.math_process import MathProcess
from tlm_jax.evaluation.rules.registry import rule_by_name
from tlm_jax.evaluation.rules.rule import Undecided


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("so \\boxed{\\frac{1}{2}}.", "\\frac{1}{2}"),
        ("\\boxed{1} The answer is $2$.", "2"),
        ("The answer is \\boxed{3}.", "3"),
        ("some work\nA: 18", "18"),
        ("So x = 3 + 4 = 7.", "7"),
        ("Thus $a=1$ and $b=2$.", "b=2"),
        ("There are 12", "12"),
        ("\\boxed{49}. Checking the answer is necessary because roots vanish.", "49"),
        ("The answer is \\text{east}. See \\boxed{3}", "3"),
        ("", None),
        ("\\boxed{}", None),
    ],
)
def test_what_is_found(text, answer):
    assert extract("math", text) == answer


@pytest.mark.parametrize(
    ("answer", "gold", "same"),
    [
        ("0.5", "\\frac12", True),
        ("\\dfrac{2}{4}", "1/2", True),
        ("2\\sqrt2", "\\sqrt{8}", True),
        ("(1, 2)", "\\left(1,2\\right)", True),
        ("(2, 1)", "(1,2)", False),
        ("3", "x=3", True),
        ("1000", "\\$1,000", True),
        ("x^2+2x+1", "(x+1)^2", True),
        ("[0,1)", "[0,1]", False),
        ("1.0", "1", True),
        ("1.001", "1", False),
        ("\\text{Evelyn}", "evelyn", True),
        ("seat", "\\text{east}", False),
        ("C", "\\text{(C)}", True),
        ("0.33", "\\frac13", False),
    ],
)
def test_what_is_equal(answer, gold, same):
    graded = grade("math", f"so \\boxed{{{answer}}}", gold)
    assert (graded.extracted, graded.correct, graded.undecided) == (answer, same, "")


def test_too_much_work_ends_at_the_limit_and_the_next_question_is_answered():
    with contextlib.closing(MathProcess(limit_seconds=1.0)) as process:
        for answer in ("9^{9^{9}}", "3^{10^{9}}-3^{10^{9}}+2"):
            with pytest.raises(Undecided, match=r"^no verdict after 1 seconds$"):
                process.same("1", answer)
            assert not process.same("1/2", "0.4")
        assert process.same("1/2", "0.5")


@pytest.mark.parametrize(
    "answer", ["999999999!", "(10!)!", "\\frac{1000000!}{999999!}", "9999999!!"]
)
def test_a_huge_factorial_is_not_computed(process, answer):
    with pytest.raises(Undecided, match=r"^a factorial of more than 100,000 is not computed$"):
        process.same("1", answer)
    assert process.same("\\frac{1000!}{998!}", "999000")


def test_a_process_that_dies_is_no_verdict(monkeypatch):
    monkeypatch.setattr(math_process, "WORKER", "tlm_jax.no_such_module")
    with contextlib.closing(MathProcess()) as process:
        for _ in range(2):
            with pytest.raises(Undecided, match=r"^the comparison ended with status 1$"):
                process.same("1/2", "0.5")


def test_a_long_answer_is_not_compared():
    graded = grade("math", "\\boxed{" + "x+" * 2_000 + "1}", "2")
    assert not graded.correct
    assert graded.undecided == "answer longer than 2,000 characters"


def test_without_the_package(monkeypatch):
    monkeypatch.setattr(math_process.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"needs the package math-verify.*tlm_jax\[math\]"):
        MathProcess().same("1/2", "0.5")


PIECE = st.sampled_from(
    ["\\frac{", "}", "{", "(", ")", "^", "_", "9", "1e999", "9**9**9", "\\sqrt", "\\text{", "x",
     "=", ",", "\\infty", "$", "%", "٣", "\\begin{pmatrix}", "&", "\\\\", "!", "\n", "\ud800"]
)  # fmt: skip


@pytest.fixture(scope="module")
def process():
    with contextlib.closing(MathProcess(limit_seconds=0.3)) as process:
        yield process


@settings(deadline=None, max_examples=15)
@given(st.lists(PIECE, max_size=12).map("".join))
def test_nested_latex_never_crashes_grading(process, answer):
    # One process for all, which starts again only where the limit has ended it.
    with contextlib.suppress(Undecided):
        assert process.same("\\frac{1}{2}", answer) in (True, False)


@pytest.mark.slow
def test_gold_solutions_are_right(shared_dir):
    names = FieldNames(prediction="rationale", gold="answer")
    path = shared_dir / "data/math_train_4subjects.jsonl.gz"
    grades = grade_file(path, rule_by_name("math"), names)
    assert grades.total.graded == 4587
    assert [item.id for item in grades.unreadable_golds] == [
        "math-train-number_theory-242",
        "math-train-number_theory-608",
    ]
    # Of algebra-1564, algebra-1625 and number_theory-516 the data's gold answer is the last of
    # several boxes, which together are the solution's answer.
    assert grades.total.correct == 4584


@pytest.mark.parametrize(
    ("answer", "gold", "same"),
    [
        ("5+\\foo{7}", "5", False),
        ("1+1/\\mathrm{e}", "1-1/\\mathrm{e}", False),
        ("4\\sqrt(2)", "4", False),
        ("\\frac{1}{2^{98}}", "\\frac{1}{2^{99}}", False),
        ("1,2,\\ldots,n", "1,3,\\ldots,n", False),
        ("2\\text{ feet}", "2\\text{ foot.}", False),
        ("2\\text{ inch}", "2\\text{ feet}", False),
        ("2\\text{ inches}", "2", True),
        ("18 dollars", "18", True),
        ("999999!", "999999", False),
        ("2 1/2", "2.5", True),
        ("0.1\\overline{6}", "\\frac{1}{6}", True),
    ],
)
def test_what_is_read_in_part_is_not_equal(answer, gold, same):
    assert grade("math", f"so \\boxed{{{answer}}}", gold).correct == same


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("So \\boxed{3}, \\boxed{5} and \\boxed{7}.", "3, 5, 7"),
        ("First \\boxed{2}. But no: \\boxed{1}.", "1"),
        ("<think>\\boxed{2}</think> \\boxed{1}", "1"),
        ("<think>\\boxed{2}", None),
        ("\\boxed{1}\n\nQuestion: And?\n\\boxed{2}", "1"),
        ("Final Answer: **73**", "73"),
        ("\\boxed{64} This matches, so our answer is correct.", "64"),
        ("$\\boxed{64}$: our answer is then \\[ 289 - 225 = 64, \\]as before.", "64"),
        ("So the answer is $3003$; divided by 1000, we get the answer: $\\boxed{3}$.", "3"),
        ("\\boxed{24} Is it a coincidence that the answer is 24?", "24"),
        ("\\boxed{9} This answer equals $\\binom{9}{1}.$ Is it always?", "\\binom{9}{1}"),
    ],
)
def test_where_the_answer_is_found(text, answer):
    assert extract("math", text) == answer
