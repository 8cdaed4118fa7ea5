"""Which generated solutions are kept, which are not, and for which reason."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlm_jax.errors import UserError
from tlm_jax.evaluation.contamination import question_text
from tlm_jax.evaluation.curation import Candidate, Curation, curate, equations


def right(text: str, question: str = "q", **fields) -> Candidate:
    return Candidate(question, text, correct=True, **fields)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("3 × 4 = 12, and 12 - 2 = $10.", ("3*4=12", "12-2=10")),
        ("3 boxes * 4 pens = <<3*4=12>>12 pens.", ("3*4=12",)),
        ("(1+2)*3 = 9; half is 12/2=6.0", ("(1+2)*3=9", "12/2=6")),
        ("5 x 1,000 = 5,000", ("5*1000=5000",)),
        ("x = 3, so 20% of 50 is 10", ()),
        ("", ()),
    ],
)
def test_equations(text, found):
    assert equations(text) == found


def test_the_first_reason_counts():
    candidates = [
        right("so the answer is 4"),
        Candidate("q", "so the answer is 5", correct=False),
        Candidate("q", "who knows", correct=False, answered=False),
        Candidate("q", "the answer is 4", correct=None),
        right("the answer is", finished=False),
        right("4"),
        right("well " * 9 + "the answer is 4"),
        right("So, the ANSWER is: 4!"),
        right("so the answer is 4", question="another"),
    ]
    settings = Curation(min_words=2, max_words=8)
    assert curate(candidates, settings) == [
        *(None, "wrong", "no answer", "not graded", "cut off", "too short", "too long"),
        *("same text", None),
    ]


def test_wrong_ones_are_those_with_another_answer():
    candidates = [
        right("4"),
        Candidate("q", "5", correct=False),
        Candidate("q", "?", correct=False, answered=False),
    ]
    assert curate(candidates, Curation(grade="wrong")) == ["right", None, "no answer"]
    assert curate(candidates, Curation(grade="any")) == [None, None, None]


def test_paths_with_the_same_equations_are_one():
    """Yuan et al. 2023, section 3.3: another wording or order of signs is no other path."""
    candidates = [
        right("He has 2 + 3 = 5. Then 5 * 2 = 10."),
        right("At first 2 + 3 = 5 pens, and so 5 × 2 = 10 pens."),
        right("Twice 2 is 2 * 2 = 4, twice 3 is 3 * 2 = 6: 4 + 6 = 10."),
        right("It is ten."),
        right("It is Ten"),
    ]
    by_equations = curate(candidates, Curation(distinct="equations"))
    assert by_equations == [None, "same equations", None, None, "same text"]
    assert curate(candidates, Curation()) == [None, None, None, None, "same text"]
    assert curate(candidates, Curation(distinct=None)) == [None] * 5


def test_questions_are_told_apart_by_their_options():
    candidates = [right("A", options=("1", "2")), right("A", options=("3", "4"))]
    assert curate(candidates, Curation()) == [None, None]


def test_questions_of_a_test_set_are_left_out():
    question = "Which of these animals can fly over a whole sea?"
    candidates = [
        right("A", question, options=("birds", "cats")),
        right("B", question, options=("dogs", "owls")),
        right("C", "Why?"),
    ]
    held_out = {"mine:test": [question_text(question.upper(), ("cats", "birds"))]}
    assert curate(candidates, Curation(), held_out) == ["in mine:test", None, None]


@given(st.integers(1, 4), st.integers(0, 9), st.integers(0, 99))
def test_a_choice_depends_on_nothing_else(most, seed, shuffled):
    """Neither on the order, nor on what else there is: a smaller choice is part of a larger one."""
    candidates = [right(f"text {n}", question=f"q{n % 3}") for n in range(18)]
    settings = Curation(per_question=most, seed=seed)

    def kept(among, settings=settings):
        reasons = curate(among, settings)
        assert set(reasons) <= {None, "more than per question"}
        return {one.text for one, reason in zip(among, reasons) if reason is None}

    found = kept(candidates)
    assert len(found) == 3 * most
    assert kept(random.Random(shuffled).sample(candidates, 18)) == found
    assert found <= kept(candidates, Curation(per_question=most + 1, seed=seed))
    assert kept(candidates[:9]) >= {one.text for one in candidates[:9]} & found


def test_seeds_choose_differently():
    candidates = [right(f"text {n}") for n in range(50)]
    chosen = {
        tuple(r is None for r in curate(candidates, Curation(per_question=5, seed=seed)))
        for seed in range(5)
    }
    assert len(chosen) == 5


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"per_question": 0}, "per_question must be 1 or more, or left out, got 0"),
        ({"min_words": 5, "max_words": 4}, "min_words is 5 and max_words 4: nothing is between"),
    ],
)
def test_impossible_settings(fields, message):
    with pytest.raises(UserError, match=message):
        Curation(**fields)
