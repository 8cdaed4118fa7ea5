"""The four formats, to the byte."""

import dataclasses

import pytest

from tlm_jax.data.formats import FORMATS, clean_rationale, get_format, inline_options
from tlm_jax.data.records import Record
from tlm_jax.errors import UserError

NUMERIC = Record(
    "1",
    "d",
    "train",
    "numeric",
    "Tom has 3: 2 red. How many: now?",
    None,
    "72",
    "Half: 48/2 = <<48/2=24>>24.\nIn all: 48+24 = <<48+24=72>>72.",
)
SECOND = Record("2", "d", "train", "numeric", "What is 1 + 1?", None, "2", "1 + 1 = 2.")
CHOICE = Record(
    "3", "d", "train", "choice", "Where?", ("a  bank", "the\npark"), "B", "Parks: green."
)
BOOLEAN = Record("4", "d", "train", "boolean", "Is water wet?", ("yes", "no"), "yes", "It is.")
NO_RATIONALE = dataclasses.replace(SECOND, rationale=None)


@pytest.mark.parametrize(
    ("form", "record", "inputs", "targets"),
    [
        (
            "answer_zero_shot",
            NUMERIC,
            "Q: Tom has 3: 2 red. How many: now? A:",
            "The answer is 72",
        ),
        (
            "cot_zero_shot",
            NUMERIC,
            "Q: Tom has 3: 2 red. How many: now?\nLet's think step by step",
            "Half: 48/2 = 24.\nIn all: 48+24 = 72.\nThe answer is 72",
        ),
        (
            "answer_in_context",
            NUMERIC,
            "Q: Tom has 3: 2 red. How many: now?\nA:",
            "The answer is 72",
        ),
        ("answer_zero_shot", CHOICE, "Q: Where? (A) a bank (B) the park A:", "The answer is (B)"),
        (
            "cot_zero_shot",
            CHOICE,
            "Q: Where? (A) a bank (B) the park\nLet's think step by step",
            "Parks: green.\nThe answer is (B)",
        ),
        ("answer_zero_shot", BOOLEAN, "Q: Is water wet? A:", "The answer is yes"),
        (
            "cot_zero_shot",
            BOOLEAN,
            "Q: Is water wet?\nLet's think step by step",
            "It is.\nThe answer is yes",
        ),
        (
            "cot_zero_shot",
            NO_RATIONALE,
            "Q: What is 1 + 1?\nLet's think step by step",
            "The answer is 2",
        ),
    ],
)
def test_strings_without_demonstrations(form, record, inputs, targets):
    assert FORMATS[form].inputs(record) == inputs
    assert FORMATS[form].targets(record) == targets


def test_in_context_answer_only():
    assert FORMATS["answer_in_context"].inputs(NUMERIC, (SECOND, CHOICE)) == (
        "Q: What is 1 + 1?\nA: The answer is 2\n\n"
        "Q: Where? (A) a bank (B) the park\nA: The answer is (B)\n\n"
        "Q: Tom has 3: 2 red. How many: now?\nA:"
    )


def test_in_context_chain_of_thought():
    assert FORMATS["cot_in_context"].inputs(SECOND, (NUMERIC, BOOLEAN)) == (
        "Q: Tom has 3: 2 red. How many: now?\nLet's think step by step\n"
        "Half: 48/2 = 24.\nIn all: 48+24 = 72.\nThe answer is 72\n\n"
        "Q: Is water wet?\nLet's think step by step\nIt is.\nThe answer is yes\n\n"
        "Q: What is 1 + 1?\nLet's think step by step"
    )


def test_zero_shot_takes_no_demonstrations():
    with pytest.raises(UserError, match="cot_zero_shot takes no demonstrations"):
        FORMATS["cot_zero_shot"].inputs(NUMERIC, (SECOND,))


def test_unknown_formats_are_answered_with_the_nearest():
    assert get_format("cot_in_context") is FORMATS["cot_in_context"]
    with pytest.raises(UserError, match="Did you mean 'cot_zero_shot'"):
        get_format("cot_zeroshot")


def test_calculator_marks_go_and_other_angle_brackets_stay():
    assert clean_rationale(" a <<1+1=2>>2 < 3 << 4\n") == "a 2 < 3 << 4"


def test_options_are_lettered_in_order():
    assert inline_options(["x"] * 3) == "(A) x (B) x (C) x"
