"""Every grading rule: what it finds, what it takes for equal, and the faults it is known for."""

import gzip
import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tlm_jax.data.records import read_json_lines, read_records
from tlm_jax.errors import UserError
from tlm_jax.evaluation.file_grading import FieldNames, grade_file
from tlm_jax.evaluation.grading import Graded, extract, grade
from tlm_jax.evaluation.rules.registry import RULES, rule_by_name

LAST, HASHES = "official_last_number", "official_after_hashes"
THIRD, LEMA = "official_third_from_end", "official_the_answer_is"
SUBSTRING = "official_bbh_substring"
ROUNDED, MATH, CHOICE = (
    "official_the_answer_is_rounded",
    "official_lema_math",
    "official_lema_choice",
)
CANDIDATES = ("bank", "library", "department store", "mall", "new york")


@pytest.mark.parametrize(
    ("rule", "text", "gold", "extracted", "correct"),
    [
        (LAST, "so 3 + 4 = 7.", "7.0", "7", True),
        (LAST, "It is 2,000", "It is 1,000", "000", True),  # fault: no thousands
        (LAST, "3,000", "3000", "000", False),  # fault: the same
        (LAST, "A: -10", "10", "10", True),  # fault: no sign
        (LAST, "The answer is 5. Ask 2 more.", "5", "2", False),  # fault: no markers
        (LAST, "none", "5", None, False),
        (LAST, ".5 and ٣", "3", "٣", True),
        (HASHES, "work\n#### 18\nQ: more #### 5", "18", "18", True),
        (HASHES, "work\n#### 18<|endoftext|>junk", "so\n#### 18", "18", True),
        (HASHES, "#### 18.0", "18", "18.0", False),  # fault: text, not numbers
        (HASHES, "#### $18", "18", "$18", False),
        (HASHES, "#### 1,800", "1800", "1,800", False),
        (HASHES, "junk<|endoftext|> #### 18", "18", "junk", False),
        (HASHES, "The answer is 18", "18", None, False),
        (THIRD, "Therefore, the answer is bank (e).", "E", "e", True),
        (THIRD, " bank (e).<|endoftext|> (a).\n(b).", "e", "e", True),
        (THIRD, "the answer is bank (e)", "E", "(", False),  # fault: no full stop
        (THIRD, "\nthe answer is (e).", "E", None, False),  # fault: the first line only
        (LEMA, "The answer is 18.", "18", "18.0", True),
        (LEMA, "The answer is: $1,800.00..", "The answer is 1800.", "1800.0", True),
        (LEMA, "The answer is 3 * 6 = 18 dollars.\n\nQ: next The answer is 2", "18", "18.0", True),
        (LEMA, "The answer is <<3*6=18>>18", "18", "18.0", True),
        (LEMA, "The answer is 36/2", "18", "18.0", True),
        (LEMA, "The answer is 50%.", "50", "50.0", True),
        (LEMA, "The answer is 50% off", "50", "50.0", True),
        (LEMA, "The answer is 50%1", "0", "0.0", True),  # given up: 0
        (LEMA, "No idea", "0", "0.0", True),  # fault: no answer is 0
        (LEMA, "The answer is 3 dozen 4", "34", "34.0", True),  # fault: letters deleted
        (LEMA, "The answer is 3:30", "3", "3.0", True),  # fault: times
        (LEMA, "The answer is 9**9**9", "0", "0.0", True),  # never calculated
        (LEMA, "The answer is __import__('os')", "1", "0.0", False),
        (LEMA, "The answer is 0.333333333", "1/3", "0.333333333", False),  # fault: exact floats
        (ROUNDED, "The answer is 0.333", "1/3", "0.333", True),
        (ROUNDED, "The answer is 0.004", "0", "0.004", True),  # fault
        (ROUNDED, "The answer is 0.34", "1/3", "0.34", False),
        (MATH, "so \\boxed{\\dfrac12}.", "\\frac{1}{2}", "\\frac{1}{2}", True),
        (MATH, "The answer is $\\frac{1}2$.", "$\\boxed{\\tfrac{1}2}$", "\\frac{1}2", True),
        (MATH, "The answer is: 0.5", "1/2", "\\frac{1}{2}", True),
        (MATH, "The answer is 3/4.", "\\frac34", "\\frac{3}{4}", True),
        (MATH, "The answer is \\boxed{2\\sqrt3}", "2\\sqrt{3}", "2\\sqrt{3}", True),
        (MATH, "The answer is 90^\\circ", "90", "90", True),
        (MATH, "The answer is 5\\text{ cm}", "5", "5", True),
        (MATH, "The answer is x = 5", "5", "5", True),
        (MATH, "The answer is .5", "0.5", "\\frac{1}{2}", True),
        (MATH, "\\boxed{1}, no: \\boxed{\\left( 2, 3 \\right)}", "(2,3)", "(2,3)", True),
        (MATH, "The answer is 0.25", "1/4", "0.25", False),  # fault: text
        (MATH, "The answer is 2.0", "2", "2.0", False),  # fault: text
        (MATH, "The answer is 1,000", "1000", "1,000", False),  # fault: text
        (MATH, "The answer is xyz=5", "5", "xyz=5", False),  # fault: two letters
        (MATH, "Q: what? The answer is 5", "5", None, False),  # fault: cut
        (MATH, "The answer is 5\\text{ m} or \\text{ cm}", "5", None, False),  # fault: units
        (MATH, "The answer is 5. I am sure.", "5", "5.Iamsure", False),  # fault: remark
        (MATH, "The answer is \\frac", "1", None, False),
        (MATH, "no box, no marker: 5", "5", None, False),
        (MATH, "\\fbox{5}", "5", None, False),  # fault
        (SUBSTRING, "So the answer is invalid.", "valid", " invalid.", True),  # fault
        (SUBSTRING, "the answer is (A) or (B)", "(B)", " (A) or (B)", True),  # fault
        (SUBSTRING, "the answer is (A). No, the answer is (B)", "(B)", " (A). No, ", False),
        (SUBSTRING, "It is (B)", "(B)", None, False),
        ("bbh_exact", "So the answer is invalid.", "valid", "invalid", False),
        ("bbh_exact", "x. So the answer is ] ) ).", "] ) )", "] ) )", True),
        ("bbh_exact", "So the answer is (A).", "(a)", "(A)", False),
        ("bbh_exact", "The answer is (A).", "(A)", None, False),
        ("numeric", "The answer is +5", "+5", "5", True),
        ("numeric", "so\n#### 18", "work 3\n#### 18", "18", True),
        ("numeric", "5", "five 5", "5", False),
        ("choice", "the answer is (b)", "b", "B", True),
        ("boolean", "It is, I think, not true.", "no", "no", True),
        ("boolean", "No: there is one, yes or so it seems", "no", "no", True),
    ],
)
def test_each_rule(rule, text, gold, extracted, correct):
    assert grade(rule, text, gold) == Graded(extracted, correct)


@pytest.mark.parametrize(
    ("text", "gold", "extracted", "correct"),
    [
        ("Let's see. The answer is library.", "B", "B", True),
        ("The answer is: a library", "library", "B", True),
        ("The answer is new york.", "E", "E", True),
        ("The answer is x. The answer is N.e.w york", "E", "E", True),  # dots go
        ("I do not know", "A", "E", False),  # fault: a guess
        ("The answer is xxxx", "A", "A", True),  # fault: the first of equals
        ("The answer is (B)", "B", "A", False),  # fault: a letter
        ("The answer is bank, " + "where money is " * 9, "A", "C", False),  # fault: a remark
        ("The answer is " + "x" * 10_001, "A", None, False),
    ],
)
def test_the_nearest_candidate(text, gold, extracted, correct):
    assert grade(CHOICE, text, gold, CANDIDATES) == Graded(extracted, correct)


def test_candidates_are_needed():
    assert grade(CHOICE, "The answer is bank", "A") == Graded(None, False)
    assert rule_by_name(CHOICE).read_gold("A", None) is None
    assert rule_by_name(CHOICE).read_gold("F", CANDIDATES) is None


@pytest.mark.parametrize(
    ("rule", "gold"),
    [
        *(("numeric", gold) for gold in ("", "five", "five 5", "1e999", "1/0")),
        *(("choice", gold) for gold in ("", "perhaps", "(F)")),
        *(("boolean", gold) for gold in ("", "maybe")),
        *(
            (rule, " ")
            for rule in ("text", "bbh_exact", SUBSTRING, THIRD, LEMA, MATH, CHOICE, "math")
        ),
        (LAST, "five"),
        (LEMA, "The answer is five"),
    ],
)
def test_golds_that_cannot_be_read(rule, gold):
    assert rule_by_name(rule).read_gold(gold, ("x", "y")) is None


def test_an_unknown_rule():
    with pytest.raises(UserError, match=r"no grading rule 'maths'\. Did you mean 'math'\? Rules: "):
        grade("maths", "1", "1")


HOSTILE = st.text(
    alphabet=st.one_of(
        st.sampled_from("0123456789.,-+*/=%$£()[]{}\\ \n\t#:<>_eE^"), st.characters()
    ),
    max_size=200,
)
MARKED = st.sampled_from(
    ["", "The answer is ", "So the answer is ", "#### ", "\\boxed{", "<|endoftext|>", "A: "]
)


@settings(deadline=None)
@given(HOSTILE, MARKED, HOSTILE, st.sampled_from(sorted(RULES)))
def test_no_text_makes_a_rule_fail(before, marker, behind, name):
    rule = RULES[name]
    text = before + marker + behind
    for options in (None, ("x", "y")):
        extracted, gold = rule.extract(text, options), rule.read_gold(text, options)
        assert extracted is None or isinstance(extracted, str)
        # Computer algebra has a test of its own.
        if extracted is not None and gold is not None and name != "math":
            assert rule.same(extracted, gold) in (True, False)


PIECES = [
    *("1", "9", "a", " ", "\n", "(", "1,", "1 ", "1/", "-", "$", "1e1", "9**", "٣", "½", "=", ">>"),
    *("no ", "no-", "not ", "the answer is ", "the answer is 1 ", "####", "#### 1\n", "x: ", "%"),
    *("\\boxed{", "\\boxed ", "{", "}", "\\frac{", "\\text{", "$x", "So the answer is A. ", "."),
]


@pytest.mark.parametrize("name", RULES)
def test_time_grows_with_the_length_of_hostile_text(name):
    # Quadratic work on 300,000 characters would take minutes for a single piece.
    started = time.monotonic()
    for piece in PIECES:
        for marker in ("", "The answer is "):
            text = marker + piece * (100_000 // len(piece))
            found = extract(name, text, ("a", "b"))
            assert found is None or len(found) <= len(text)
            RULES[name].read_gold(text, ("a", "b"))
    assert time.monotonic() - started < 60


@pytest.mark.parametrize("name", sorted(set(RULES) - {"math"}))
@pytest.mark.parametrize("piece", ["9", "so 1,000 or no (b) "])
def test_ten_megabytes(name, piece):
    text = "The answer is " + piece * (10_000_000 // len(piece))
    graded = grade(name, text, "1", ("a", "b"))
    assert graded.correct in (True, False)
    assert not graded.undecided


def test_solutions_of_another_form_are_all_wrong_by_other_official_rules(shared_dir):
    for record in read_records(shared_dir / "data/gsm8k_model_solutions.jsonl.gz"):
        for solution in record.meta["solutions"]:
            assert extract(HASHES, solution["solution"]) is None
            assert extract(LEMA, solution["solution"]) == "0.0"


def test_official_rules_on_official_answers(shared_dir):
    for number, row in read_json_lines(shared_dir / "data/lema_gsm8k_test.jsonl.gz"):
        completion = row["meta"]["completion"]
        assert grade(LEMA, completion, row["answer"]).correct, number
        assert grade(LAST, completion, completion).correct, number
    for record in read_records(shared_dir / "data/gsm8k_test.jsonl.gz"):
        raw = f"{record.rationale}\n#### {record.meta['answer_raw']}"
        assert grade(HASHES, raw, raw).correct, record.id
        # With commas in one of the two only, the text differs.
        assert grade(HASHES, raw, record.answer).correct == ("," not in raw.split("#### ")[1])


def test_lema_rules_on_published_answers(shared_dir):
    for record in read_records(shared_dir / "data/lema_csqa_dev.jsonl.gz"):
        text = f"Because. The answer is {record.meta['answer_text']}."
        assert grade(CHOICE, text, record.answer, record.options).correct, record.id
    for record in read_records(shared_dir / "data/math_test.jsonl.gz"):
        assert grade(MATH, record.rationale or "", record.answer).correct, record.id


def test_the_file_of_a_test_is_graded_like_any_other(tmp_path):
    path = tmp_path / "a.jsonl.gz"
    with gzip.open(path, "wt") as file:
        file.write(json.dumps({"p": "The answer is 4", "g": 4.0}) + "\n")
    grades = grade_file(path, rule_by_name("numeric"), FieldNames("p", "g"))
    assert (grades.total.correct, grades.total.graded) == (1, 1)
