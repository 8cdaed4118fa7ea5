"""The oracle of word problems finds the first wrong step, whatever is wrong with it."""

from __future__ import annotations

import dataclasses

import pytest

from tlm_jax.data.generators.draws import Draws
from tlm_jax.data.generators.word_problem_errors import first_error
from tlm_jax.data.generators.word_problems import EASY, WordProblems, word_problem

RECORD = dataclasses.replace(
    word_problem(EASY, "train", 0),
    question="Tom plays 3 rounds of 4 points. He gets 5 points more. How many points has he?",
    answer="17",
    rationale="3 rounds of 4 points is 3 * 4 = 12 points.\nHe gets 5 more, so he has 12 + 5 = 17.",
)
GOLD = RECORD.rationale.split("\n")
END = "The answer is 17."


@pytest.mark.parametrize(
    ("steps", "step", "explanation", "corrected"),
    [
        (("So 3 * 4 = 11.", GOLD[1], END), 1, "3 * 4 is 12, not 11.", (*GOLD, END)),
        (
            ("It is 3 + 4 = 7.", "7 + 5 = 12.", "The answer is 12."),
            1,
            f"It is 3 * 4, not 3 + 4. {GOLD[0]}",
            (*GOLD, END),
        ),
        (
            (GOLD[0], "12 + 5 = 18.", "The answer is 18."),
            2,
            "12 + 5 is 17, not 18.",
            (GOLD[1], END),
        ),
        (
            (GOLD[0], "The answer is 12."),
            2,
            f"The solution is not finished. {GOLD[1]}",
            (GOLD[1], END),
        ),
        (
            (GOLD[0], "He has some.", "The answer is 5."),
            2,
            f"Nothing is calculated. {GOLD[1]}",
            (GOLD[1], END),
        ),
        (
            (*GOLD, "The answer is 12."),
            3,
            "The last result is the answer, and it is 17.",
            (END,),
        ),
        (
            (*GOLD, "17 + 1 = 18.", "The answer is 18."),
            3,
            "The question is answered before: the answer is 17.",
            (END,),
        ),
        (GOLD, 2, "The answer is missing: it is 17.", (END,)),
    ],
)
def test_the_first_wrong_step_is_found(steps, step, explanation, corrected):
    found = first_error(RECORD, steps)
    assert found is not None
    assert (found.step, found.explanation, found.corrected) == (step, explanation, corrected)


def test_nothing_is_wrong_with_other_words_and_sums_in_another_order():
    assert first_error(RECORD, (*GOLD, END)) is None
    assert first_error(RECORD, ("4 * 3 = 12", "5 + 12 = 17", END)) is None


@pytest.mark.parametrize("problems", [EASY, WordProblems()])
def test_an_injected_mistake_is_found_where_it_is(problems):
    for index in range(200):
        record = word_problem(problems, "train", index)
        gold = record.rationale.split("\n")
        assert first_error(record, (*gold, f"The answer is {record.answer}.")) is None
        place = Draws("place", index).below(len(gold))
        before, _, after = gold[place].partition(" = ")
        digits = after[: len(after) - len(after.lstrip("0123456789"))]
        wrong = f"{before} = {int(digits) + 1}{after[len(digits) :]}"
        found = first_error(record, (*gold[:place], wrong, *gold[place + 1 :], "The answer is 1."))
        assert found.step == place + 1
        assert found.corrected == (*gold[place:], f"The answer is {record.answer}.")
