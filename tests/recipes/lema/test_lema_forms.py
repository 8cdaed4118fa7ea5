"""Texts of LEMA, byte by byte, and prompts against the published files."""

from __future__ import annotations

import gzip
import json

import pytest

from tlm_jax.data.published_formats import lema_question
from tlm_jax.data.records import Record, read_json_lines, read_records
from tlm_jax.data.run_data import RunData
from tlm_jax.errors import UserError
from tlm_jax.recipes.lema.corrections import Correction
from tlm_jax.recipes.lema.forms import Candidates, Numbered, check_fields

EGGS = Record(
    "eggs", "gsm8k", "train", "numeric", "How many eggs?", None, "7",
    rationale="She has 5 + 4 = <<5+4=9>>9.\nShe eats 2, so 9 - 2 = 7.",
)  # fmt: skip
PATH = ("She has 5 + 4 = 9.", "She eats 2, so 9 - 2 = 6.", "The answer is 6.")
FOUND = Correction(2, "9 - 2 is 7.", ("She eats 2, so 9 - 2 = 7.", "The answer is 7."))
INSTRUCTION = (
    "For the following math problem, the original solution is incorrect. Please identify the "
    "incorrect step, explain why it is incorrect, and correct the original solution starting from "
    "the incorrect step.\n"
)
ASKED = (
    "Question: How many eggs?\nOriginal Solution: {\nStep 1: She has 5 + 4 = 9.\n"
    "Step 2: She eats 2, so 9 - 2 = 6.\nStep 3: The answer is 6.\n}\n"
)
SOLUTION = (
    "Correct Solution: {\n...\nStep 2: She eats 2, so 9 - 2 = 7.\nStep 3: The answer is 7.\n}"
)


def test_a_chain_of_thought_as_published():
    form = Numbered()
    pair = form.cot(EGGS, form.gold(EGGS))
    assert pair.inputs == (
        "Please solve the following math problem.\nQuestion: How many eggs?\n"
        "Answer: Let's think step by step.\n"
    )
    assert pair.targets == "She has 5 + 4 = 9. She eats 2, so 9 - 2 = 7. The answer is 7."


def test_a_chain_of_thought_in_a_form_of_the_tasks():
    form = Numbered(cot_form="cot_zero_shot")
    pair = form.cot(EGGS, form.gold(EGGS))
    assert pair.inputs == "Q: How many eggs?\nLet's think step by step"
    assert pair.targets == "She has 5 + 4 = 9.\nShe eats 2, so 9 - 2 = 7.\nThe answer is 7"
    with pytest.raises(UserError, match=r"Numbered\.cot_form is 'answer_zero_shot', expected one"):
        Numbered(cot_form="answer_zero_shot")


def test_a_correction_as_published():
    pair = Numbered().correction(EGGS, PATH, FOUND)
    assert pair.inputs == f"{INSTRUCTION}{ASKED}Incorrect Step:"
    assert pair.targets == f" Step 2.\nExplanation: 9 - 2 is 7.\n{SOLUTION}"


def test_nothing_is_left_out_before_the_first_step():
    pair = Numbered().correction(EGGS, PATH, Correction(1, "No.", ("The answer is 7.",)))
    assert pair.targets == (
        " Step 1.\nExplanation: No.\nCorrect Solution: {\nStep 1: The answer is 7.\n}"
    )


@pytest.mark.parametrize(
    ("without", "inputs", "targets"),
    [
        (("explanation",), "Incorrect Step:", f" Step 2.\n{SOLUTION}"),
        (("solution",), "Incorrect Step:", " Step 2.\nExplanation: 9 - 2 is 7."),
        (("step",), "Explanation:", f" 9 - 2 is 7.\n{SOLUTION}"),
        (
            ("step", "explanation"),
            "Correct Solution:",
            SOLUTION.removeprefix("Correct Solution:"),
        ),
    ],
)
def test_fields_are_left_out(without, inputs, targets):
    pair = Numbered(instruction="").correction(EGGS, PATH, FOUND, without)
    assert (pair.inputs, pair.targets) == (ASKED + inputs, targets)


def test_no_such_field():
    with pytest.raises(UserError, match=r"has no field 'reason'\. It has step, explanation"):
        check_fields(["reason"])
    with pytest.raises(UserError, match="nothing is left of a correction"):
        check_fields(["step", "explanation", "solution"])


def test_what_is_trained_on_is_read_as_what_it_was():
    form = Numbered()
    assert form.read(form.correction(EGGS, PATH, FOUND).targets, PATH) == FOUND


CHOICE = Record(
    "1", "csqa", "train", "choice", "What do cats get into?", ("floor", "trouble"), "B"
)  # fmt: skip
CHOICE_PATH = ("Explanations:", "Floor - no.", "Reasons and Final Answer:", "The answer is floor.")


def test_candidates():
    form = Candidates()
    assert form.cot_inputs(CHOICE) == (
        "Please answer the following commonsense question. Please first explain each candidate "
        "answer, then select only one answer that is most relevant to the question and provide "
        "reasons.\nQuestion: What do cats get into?\nCandidate Answers: floor, trouble.\n"
        "Answer: Let's think step by step.\n"
    )
    path = form.path("\n".join(CHOICE_PATH), "A")
    assert path == CHOICE_PATH
    found = Correction(None, "Trouble is apt.", (*CHOICE_PATH[:3], "The answer is trouble."))
    pair = form.correction(CHOICE, path, found)
    assert pair.inputs.endswith(
        "Candidate Answers: floor, trouble.\nOriginal Answer: {\nExplanations:\nFloor - no.\n"
        "Reasons and Final Answer:\nThe answer is floor.\n}\nMistakes:"
    )
    assert form.read(pair.targets, path) == found
    assert found.chain(path) == found.steps


def data_with(tmp_path, rows) -> RunData:
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "lema_correction_prompts.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    return RunData(tmp_path)


@pytest.mark.parametrize("form", [Numbered("gsm8k"), Numbered("math"), Candidates()])
def test_prompts_are_those_of_the_files(form, shared_dir):
    data = RunData(shared_dir / "data")
    rows = [r for _, r in read_json_lines(shared_dir / "data/lema_correction_prompts.jsonl.gz")]
    (row,) = (row for row in rows if row["task"] == form.task)
    record = CHOICE if form.task == "csqa" else EGGS
    path = CHOICE_PATH if form.task == "csqa" else PATH
    prompt = form.prompt(record, path, data)
    assert prompt == f"{row['text'].rstrip()}\n\n{form.query(record, path)}"
    label = "Mistakes:" if form.task == "csqa" else "Incorrect Step:"
    assert prompt.endswith(f"\n}}\n{label}")
    # A demonstration that asks the same is left out.
    one = row["demonstrations"][0]
    shown = form.prompt(
        Record("x", "d", "train", record.kind, one["question"], record.options, record.answer),
        path,
        data,
    )
    assert shown.count("Question: ") == 4
    assert one["corrected"] not in shown


def test_a_file_without_the_prompt(tmp_path):
    data = data_with(tmp_path, [{"task": "gsm8k", "instruction": "x", "demonstrations": [1]}])
    with pytest.raises(UserError, match=r"no row has the prompt of 'gsm'\. Did you mean 'gsm8k'"):
        Numbered("gsm").prompt(EGGS, PATH, data)
    with pytest.raises(UserError, match="LEMA's prompts of correctors"):
        Numbered().prompt(EGGS, PATH, RunData(tmp_path / "none"))


def test_prompts_are_those_of_the_published_test_sets(shared_dir):
    for record in read_records(shared_dir / "data/lema_csqa_dev.jsonl.gz"):
        inputs, targets = lema_question(record, RunData())
        assert inputs == record.meta["prompt"]
        assert targets == f"The answer is {record.meta['answer_text']}."
    for record in read_records(shared_dir / "data/lema_gsm8k_test.jsonl.gz"):
        assert lema_question(record, RunData())[0] == record.meta["prompt"]
