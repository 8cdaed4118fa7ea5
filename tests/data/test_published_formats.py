"""Formats of single publications, against the publications' own files where there are any."""

import re

import pytest

from tlm_jax.data.demonstrations import DemonstrationPool, DemonstrationSettings
from tlm_jax.data.generators.addition import Addition, addition
from tlm_jax.data.published_formats import (
    lema_cot,
    star_addition,
    star_choice_prompt,
    star_choice_target,
    star_gsm8k_prompt,
    star_gsm8k_target,
)
from tlm_jax.data.record_sets import GeneratedRecords
from tlm_jax.data.records import Record, read_json_lines, read_records
from tlm_jax.data.run_data import RunData
from tlm_jax.data.teacher_lm.lines import answered_line, elicitation

CHOICE = Record(
    "1",
    "d",
    "train",
    "choice",
    "What absorbs ink?",
    ("shirt pocket", "hand", "blotter"),
    "C",
)


def test_star_choice_prompt_with_and_without_the_hint():
    assert star_choice_prompt(CHOICE) == (
        "Q: What absorbs ink?\nAnswer Choices:\n(a) shirt pocket\n(b) hand\n(c) blotter\nA:"
    )
    assert star_choice_prompt(CHOICE, ("Q: x\nA: y",), hint=True) == (
        "Q: x\nA: y\n\nQ: What absorbs ink?\nAnswer Choices:\n(a) shirt pocket\n(b) hand\n"
        "(c) blotter (CORRECT)\nA:"
    )
    assert star_choice_target(CHOICE, rationale="Blotters absorb.") == (
        " Blotters absorb. Therefore, the answer is blotter (c)."
    )
    assert star_choice_target(CHOICE) == " (c)."


def test_star_gsm8k_prompt_shows_the_final_answer_only_as_its_hint():
    record = Record("1", "d", "train", "numeric", "How many?", None, "72", "1 = <<1=1>>1")
    assert star_gsm8k_prompt(record) == "Q: How many?\nA:"
    assert star_gsm8k_prompt(record, ("Q: a\nA: b",), hint=True) == (
        "Q: a\nA: b\n\nQ: How many? (72)\nA:"
    )
    assert star_gsm8k_target(record) == " 1 = <<1=1>>1\n#### 72"


def test_addition_in_star_format_to_the_byte():
    record = Record(
        "1",
        "addition",
        "train",
        "text",
        "3 + 9",
        None,
        "1 2",
        "<scratch>\n3 + 9 , C: 0\n, 2 C: 1\n1 2\n</scratch>",
    )
    assert star_addition(record, RunData()) == (
        "Input:\n3 + 9\nTarget:",
        "<scratch>\n3 + 9 , C: 0\n, 2 C: 1\n1 2\n</scratch>\n1 2",
    )
    assert star_addition(record, RunData(), scratch=False) == ("Input:\n3 + 9\nTarget:", "1 2")


def test_addition_demonstrations_are_divided_by_blank_lines():
    problems = Addition(min_digits=2, max_digits=2)
    records = GeneratedRecords("a", ("train",), lambda s, i: addition(problems, s, i))
    pool = DemonstrationPool(records, settings=DemonstrationSettings(num=2))
    inputs, targets = star_addition(
        records.record("train", 0, RunData()), RunData(), scratch=False, pool=pool
    )
    blocks = inputs.split("\n\n")
    assert len(blocks) == 3
    assert blocks[-1] == f"Input:\n{records.record('train', 0, RunData()).question}\nTarget:"
    assert all(block.count("\n") == 3 for block in blocks[:2])
    assert targets == records.record("train", 0, RunData()).answer


def test_teacher_lm_line():
    assert answered_line(CHOICE) == (
        "Q: What absorbs ink? (A) shirt pocket (B) hand (C) blotter A: The answer is (C)."
    )


def test_published_prompts_are_made_again_from_their_records(shared_dir):
    creak = list(read_records(shared_dir / "data/teacherlm_creak_prompts.jsonl.gz"))
    for record in creak:
        assert answered_line(record) == record.meta["text"]
        for field in ("cot", "error", "fundamental"):
            assert elicitation(record, field) == record.meta[f"{field}_text"]
    for record in read_records(shared_dir / "data/lema_gsm8k_test.jsonl.gz"):
        inputs, targets = lema_cot(record)
        assert inputs == record.meta["prompt"]
        # A few gold answers are written there with commas or other white space.
        assert targets.split()[:5] == record.meta["completion"].split()[:5]


@pytest.mark.parametrize(("name", "hint"), [("prompts", False), ("prompts_answer_key", True)])
def test_star_prompts_are_made_again_from_their_parts(shared_dir, name, hint):
    rows = [row for _, row in read_json_lines(shared_dir / "data/star_prompts.jsonl.gz")]
    row = next(r for r in rows if r["task"] == "commonsenseqa" and r["name"] == name)
    for example in row["examples"]:
        question = example.split("\n")[0].removeprefix("Q: ")
        options = re.findall(r"^\(\w\) (.*?)(?: \(CORRECT\))?$", example, re.MULTILINE)
        solved = re.search(r"\nA: (.*) Therefore,.*\((\w)\)\.$", example)
        assert solved is not None
        rationale, letter = solved.groups()
        record = Record(
            "x", "csqa", "train", "choice", question, tuple(options), letter.upper(), rationale
        )
        prompt = star_choice_prompt(record, hint=hint)
        assert example == prompt + star_choice_target(record, rationale=rationale)
