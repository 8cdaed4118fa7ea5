"""Prompts as published, byte by byte, and hints that no stored text may show."""

from __future__ import annotations

import pytest

from tlm_jax.data.generators.addition import Addition, addition
from tlm_jax.data.records import Record
from tlm_jax.data.run_data import RunData
from tlm_jax.errors import UserError
from tlm_jax.recipes.star.forms import (
    AdditionScratchpad,
    Commonsense,
    GradeSchool,
    Questions,
    StepByStep,
)

INK = Record(
    id="ink",
    dataset="commonsenseqa",
    split="train",
    kind="choice",
    question="What absorbs extra ink?",
    options=("shirt pocket", "blotter"),
    answer="B",
)
CLIPS = Record("clips", "gsm8k", "train", "numeric", "How many clips?", None, "72")
SUM = Record("sum", "addition", "train", "text", "6 2 4 + 2 5 9", None, "8 8 3")


@pytest.mark.parametrize(
    ("form", "record", "plain", "hinted"),
    [
        (
            Commonsense(few_shot=False),
            INK,
            "Q: What absorbs extra ink?\nAnswer Choices:\n(a) shirt pocket\n(b) blotter\nA:",
            "Q: What absorbs extra ink?\nAnswer Choices:\n(a) shirt pocket\n"
            "(b) blotter (CORRECT)\nA:",
        ),
        (
            StepByStep(),
            CLIPS,
            "Q: How many clips?\nLet's think step by step",
            "Q: How many clips? (72)\nLet's think step by step",
        ),
        (
            GradeSchool(few_shot=False),
            CLIPS,
            "Q: How many clips?\nA:",
            "Q: How many clips? (72)\nA:",
        ),
        (
            AdditionScratchpad(num_demonstrations=0),
            SUM,
            "Input:\n6 2 4 + 2 5 9\nTarget:\n",
            "Input:\n6 2 4 + 2 5 9\nTarget: 8 8 3\n",
        ),
        (
            Questions(),
            INK,
            "Q: What absorbs extra ink? (A) shirt pocket (B) blotter\nA:",
            "Q: What absorbs extra ink? (A) shirt pocket (B) blotter (B)\nA:",
        ),
    ],
)
def test_queries_with_and_without_a_hint(form, record, plain, hinted):
    data = RunData()
    assert form.prompt(record, data) == form.query(record) == plain
    assert form.prompt(record, data, hint=True) == hinted
    assert form.holds_hint(hinted, record)
    assert not form.holds_hint(plain, record)


@pytest.mark.parametrize(("form", "count"), [(Commonsense(), 7), (GradeSchool(), 6)])
def test_published_demonstrations(form, count, shared_dir):
    data = RunData(shared_dir / "data")
    record = INK if count == 7 else CLIPS
    plain = form.demonstrations(record, data, hint=False)
    hinted = form.demonstrations(record, data, hint=True)
    assert len(plain) == len(hinted) == count
    assert all(one != other for one, other in zip(plain, hinted))
    prompt = form.prompt(record, data)
    assert prompt.startswith("Q: ")
    assert prompt.endswith(f"\n\n{form.query(record)}")
    mark = " (CORRECT)" if count == 7 else " (72)"
    assert mark in hinted[0]
    assert mark not in plain[0]


def test_a_question_is_not_asked_behind_its_own_solution(shared_dir):
    data = RunData(shared_dir / "data")
    form = GradeSchool()
    blocks = form.demonstrations(CLIPS, data, hint=False)
    asked = blocks[2].split("\n")[0].removeprefix("Q: ")
    record = Record("third", "gsm8k", "train", "numeric", asked, None, "42")
    for hint in (False, True):
        prompt = form.prompt(record, data, hint=hint)
        assert prompt.count(asked) == 1
        assert prompt.count("\n\nQ: ") == 5


def test_demonstrations_of_sums_have_as_many_digits_and_never_the_sum_itself():
    form = AdditionScratchpad(num_demonstrations=10)
    record = addition(Addition(min_digits=1, max_digits=1), "train", 3)
    for hint in (False, True):
        blocks = form.demonstrations(record, RunData(), hint=hint)
        assert len(set(blocks)) == 10
        for block in blocks:
            first, question, target, rest = block.split("\n", 3)
            assert first == "Input:"
            assert question != record.question
            assert len(question.split(" + ")[0].split()) == 1
            answer = rest.rsplit("\n", 1)[1]
            assert target == (f"Target: {answer}" if hint else "Target:")
            assert rest.startswith("<scratch>\n")


def test_blocks_of_a_file(tmp_path):
    (tmp_path / "few.txt").write_text("Q: 1?\nA: one\n\nQ: 2?\nA: two\n")
    form = Questions(few_shot_file=str(tmp_path / "few.txt"))
    expected = "Q: 1?\nA: one\n\nQ: 2?\nA: two\n\nQ: How many clips? (72)\nA:"
    assert form.prompt(CLIPS, RunData(), hint=True) == expected
    with pytest.raises(UserError, match=r"none\.txt cannot be read"):
        Questions(few_shot_file=str(tmp_path / "none.txt")).prompt(CLIPS, RunData())
    (tmp_path / "empty.txt").write_text("\n\n")
    with pytest.raises(UserError, match="holds no demonstrations"):
        Questions(few_shot_file=str(tmp_path / "empty.txt")).prompt(CLIPS, RunData())


def test_a_form_for_choices_refuses_numbers():
    with pytest.raises(UserError, match="'clips' is of kind 'numeric', but the form Commonsense"):
        Commonsense(few_shot=False).query(CLIPS)
