"""Answers in model output."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlm_jax.data.records import LETTERS
from tlm_jax.errors import UserError
from tlm_jax.evaluation.choice_answers import extract_choice
from tlm_jax.evaluation.extraction import after_marker, extract_boolean, extract_text
from tlm_jax.evaluation.grading import extract

OPTIONS = ("bank", "the new library", "mall", "bank robber", "A")


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
        ("\\boxed{\\text{Yes}}", "yes"),
        ("So it is $\\boxed{\\text{No}}$.", "no"),
        ("**No**", "no"),
        ("The final answer: no. It is true that fish swim.", "no"),
        ("It is incorrect.", "no"),
        ("<think>no</think> Yes", "yes"),
        ("<think>The answer is no", None),
        ("Yes.\n\nQ: Is water dry?\nA: No.", "yes"),
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
        ("<think>Rome</think>Paris", "Paris"),
        ("<think>The answer is Rome", None),
        ("The answer is Paris.\n\nQ: Of Italy?\nA: The answer is Rome.", "Paris"),
        ("The correct answer is **Paris**.", "Paris"),
        ("The answer is \\boxed{Paris}.", "Paris"),
        ("Answer: Paris", "Paris"),
        ("<answer>Paris</answer>", "Paris"),
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
