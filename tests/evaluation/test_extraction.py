"""Answers in model output."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlm_jax.data.records import LETTERS
from tlm_jax.errors import UserError
from tlm_jax.evaluation.extraction import (
    after_marker,
    extract_boolean,
    extract_choice,
    extract_number,
    extract_text,
)
from tlm_jax.evaluation.grading import extract

OPTIONS = ("bank", "the new library", "mall", "bank robber", "A")


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("He has 3 * 4 = 12 pens.\nThe answer is 12", 12),
        ("The answer is 5. No, the answer is 7.", 7),
        ("THE ANSWER IS: $1,250.50.", 1250.5),
        ("the answer is -3 degrees", -3),
        ("The answer is 3 boxes of 4", 3),
        ("The answer is 3 + 4 = 7 apples", 7),
        ("The answer is x = 5", 5),
        ("The answer is 48 / 2", 24),
        ("The answer is 48 / 2 dollars", 24),
        ("The answer is 3/4.", 0.75),
        ("The answer is 1 1/2 cups", 1.5),
        ("The answer is 50%", 50),
        ("The answer is **42**", 42),
        ("The answer is:\n\n42 apples", 42),
        ("work 1\n#### 1,234", 1234),
        ("#### -7", -7),
        ("a b 3\n#### ", None),
        ("There are 12. The answer is twelve.", None),
        ("The answer is 1e999", None),
        ("The answer is 2/0", None),
        ("So 3 + 4 = 7.", 7),
        ("She spends $1,000", 1000),
        ("", None),
        ("nothing here", None),
        ("A: 26", 26),
        ("The answer is 9**9**9", 9),
        ("The answer is (((((1", 1),
    ],
)
def test_numbers(text, number):
    assert extract_number(text) == (None if number is None else pytest.approx(number))


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("The answer is (B)", "B"),
        ("the answer is (c).", "C"),
        ("It is not (A). The answer is (B), not (C).", "B"),
        ("Therefore, the answer is mall (c).", "C"),
        ("(A) is wrong, so it is (D)", "D"),
        ("The answer is C", "C"),
        ("The answer is C.", "C"),
        ("The answer is c", "C"),
        ("The answer is C) mall", "C"),
        ("The answer is option D", "D"),
        ("Some thought.\nD", "D"),
        ("(c).", "C"),
        ("The answer is mall", "C"),
        ("The answer is The New Library.", "B"),
        ("The answer is a bank", None),
        ("The answer is (F)", None),
        ("The answer is", None),
        ("I do not know", None),
        ("", None),
    ],
)
def test_choices(text, letter):
    assert extract_choice(text, OPTIONS) == letter


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("The answer is yes", "yes"),
        ("The answer is No.", "no"),
        ("No doubt. The answer is true", "yes"),
        ("The answer is not true", "no"),
        ("the answer is not false.", "yes"),
        ("Yes, because there is no water", "yes"),
        ("There is no water, so no.", "no"),
        ("False", "no"),
        ("There are no birds here", None),
        ("The answer is maybe", None),
        ("Yesterday", None),
        ("", None),
    ],
)
def test_booleans(text, answer):
    assert extract_boolean(text) == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("So the answer is ] ) ).", "] ) )"),
        ("The answer is Paris\nand more", "Paris"),
        ("so $x = \\boxed{\\frac{1}{2}}$ and \\boxed{3}.", "3"),
        ("\\boxed{\\frac{1}{2}}", "\\frac{1}{2}"),
        ("<scratch>\n1 2\n</scratch>\n1 2", "1 2"),
        ("The answer is", None),
        (" \n ", None),
    ],
)
def test_texts(text, answer):
    assert extract_text(text) == answer


def test_extract_writes_answers_as_records_do():
    assert extract("numeric", "The answer is 1,200.0") == "1200"
    assert extract("numeric", "The answer is 0.5") == "0.5"
    assert extract("choice", "(b)", ("x", "y")) == "B"
    assert extract("boolean", "True") == "yes"
    assert extract("text", "x.") == "x"
    with pytest.raises(UserError, match=r"no grading rule 'numerik'. Did you mean 'numeric'\?"):
        extract("numerik", "x")


def test_the_last_marker_counts():
    assert after_marker("no") is None
    assert after_marker("The answer is 1 #### 2") == " 2"


@given(st.text(max_size=200), st.sampled_from(["numeric", "choice", "boolean", "text"]))
def test_no_text_makes_extraction_fail(text, kind):
    for whole in (text, f"The answer is {text}", f"{text}\n#### {text}"):
        found = extract(kind, whole, OPTIONS)
        assert found is None or isinstance(found, str)
        if kind == "choice":
            assert found is None or found in LETTERS[: len(OPTIONS)]
        if kind == "boolean":
            assert found in (None, "yes", "no")


@given(
    st.integers(-(10**9), 10**9),
    st.sampled_from(["", "$", "€"]),
    st.sampled_from(["", ".", " apples.", "%", " dollars", ".00"]),
)
def test_a_number_is_read_whatever_stands_round_it(number, currency, behind):
    text = f"Some 17 steps.\nThe answer is {currency}{number:,}{behind}"
    assert extract_number(text) == number


@given(st.integers(0, 25))
def test_every_letter_in_parentheses_is_read(place):
    options = [f"option text {i}" for i in range(26)]
    assert extract_choice(f"The answer is ({LETTERS[place]})", options) == LETTERS[place]
    assert extract_choice(f"The answer is {options[place]}.", options) == LETTERS[place]


@pytest.mark.parametrize("kind", ["numeric", "choice", "boolean", "text"])
@pytest.mark.parametrize(
    "text",
    ["the answer is ", "(", ")", "not ", "####", "\\boxed{", "1+", "1 + (", "$", "( ", "1 )"],
)
def test_long_hostile_text_is_read_in_a_moment(kind, text):
    # Backtracking would take hours here.
    for whole in (text * 5_000, f"The answer is {text * 5_000}", f"The answer is {text * 5_000}x"):
        found = extract(kind, whole, OPTIONS)
        assert found is None or len(found) <= len(whole)
