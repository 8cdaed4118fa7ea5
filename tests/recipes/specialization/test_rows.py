"""Rows of students: their texts in four formats, whose solutions, which demonstrations."""

from __future__ import annotations

import dataclasses

import pytest
from little_sums import DATA_SET, TRAIN, sum_record

from tlm_jax.data.demonstrations import DemonstrationPool
from tlm_jax.data.formats import FORMATS
from tlm_jax.data.record_sets import LoadedRecords
from tlm_jax.data.records import Record, write_records
from tlm_jax.data.run_data import DemonstrationSettings, RunData
from tlm_jax.data.teachers.join import UNTAUGHT
from tlm_jax.errors import UserError
from tlm_jax.recipes.question_sets import records_of
from tlm_jax.recipes.specialization.mixture import Mixing
from tlm_jax.recipes.specialization.rows import (
    RowSettings,
    SolutionRows,
    Solutions,
    cut_prompts,
)
from tlm_jax.vocabularies import ByteVocabulary


def solution(record: Record, number: int, rationale: str) -> Record:
    return dataclasses.replace(
        record, id=f"{record.id}/{number}", dataset="select", rationale=rationale
    )


SOLUTIONS = [
    solution(record, number, f"way {number} to {record.answer}")
    for record in TRAIN[:4]
    for number in range(3)
]


@pytest.fixture
def rows(tmp_path):
    """Returns what makes rows of solutions; keywords replace settings."""

    def make(*forms, records=SOLUTIONS, pool=TRAIN, num=2, max_inputs=2000, **mixing):
        write_records(tmp_path / "examples.jsonl", records)
        settings = RowSettings(
            forms,
            Mixing(**mixing),
            DemonstrationSettings(num=num),
            batch_size=4,
            micro_batches=1,
            seed=0,
            max_inputs=max_inputs,
        )
        loaded = LoadedRecords("pool", {"train": lambda _: pool})
        source = SolutionRows(settings, DemonstrationPool(loaded), ByteVocabulary())
        return source.for_run(RunData(examples_file=tmp_path / "examples.jsonl"))

    return make


def read(source: SolutionRows, count: int):
    return [source.example("train", index) for index in range(count)]


def test_the_four_formats_are_those_of_the_published_code(rows):
    question = "Q: What is 1 + 1?"
    for form, (asked, target) in {
        "answer_zero_shot": (f"{question} A:", "The answer is 2"),
        "cot_zero_shot": (f"{question}\nLet's think step by step", "way 0 to 2\nThe answer is 2"),
        "answer_in_context": (f"{question}\nA:", "The answer is 2"),
        "cot_in_context": (f"{question}\nLet's think step by step", "way 0 to 2\nThe answer is 2"),
    }.items():
        (example,) = read(rows(form, records=SOLUTIONS[:1]), 1)
        *demonstrations, query = str(example["inputs"]).split("\n\n")
        assert query == asked
        assert example["targets"] == target
        assert len(demonstrations) == (2 if FORMATS[form].in_context else 0)
        # Human rationales, not the teacher's.
        assert not any("way" in text for text in demonstrations)
        assert all(("step by step" in text) == FORMATS[form].cot for text in demonstrations)
        assert (UNTAUGHT in example) == (not FORMATS[form].cot)


def test_chains_of_thought_have_all_right_solutions_and_answers_the_first():
    found = Solutions(SOLUTIONS, Mixing())
    assert found.sizes(list(FORMATS)) == {
        "answer_zero_shot": 4,
        "cot_zero_shot": 12,
        "answer_in_context": 4,
        "cot_in_context": 12,
    }
    assert [SOLUTIONS[place].id[-2:] for place in found.rows("answer_zero_shot")] == ["/0"] * 4
    every = Mixing(all_samples=list(FORMATS))
    assert Solutions(SOLUTIONS, every).sizes(["answer_zero_shot"]) == {"answer_zero_shot": 12}
    assert Solutions(SOLUTIONS, Mixing(all_samples=[])).sizes(["cot_zero_shot"]) == {
        "cot_zero_shot": 4
    }


def test_demonstrations_are_drawn_anew_each_epoch(rows):
    source = rows("cot_in_context")
    first, second = read(source, 12), [source.example("train", n) for n in range(12, 24)]
    by_id = {example["id"]: example["inputs"] for example in second}
    assert {example["id"] for example in first} == set(by_id)
    assert sum(by_id[example["id"]] != example["inputs"] for example in first) >= 10
    again = {e["id"]: e["inputs"] for e in read(rows("cot_in_context"), 12)}
    assert again == {e["id"]: e["inputs"] for e in first}


@pytest.mark.parametrize("kind", ["fixed", "official"])
def test_demonstrations_may_be_a_draw_for_each_row(rows, kind):
    source = rows("cot_in_context", demonstrations=kind)
    first, second = read(source, 12), [source.example("train", n) for n in range(12, 24)]
    by_id = {example["id"]: example["inputs"] for example in second}
    assert all(by_id[example["id"]] == example["inputs"] for example in first)
    # Three solutions of a question have demonstrations of their own.
    assert len({example["inputs"] for example in first}) > 8


def test_the_row_itself_is_a_demonstration_in_the_official_code_alone(rows):
    def itself(example):
        return str(example["inputs"]).count(f"Q: {example['question']}\n") > 1

    few = TRAIN[:4]
    for kind in ("each_epoch", "fixed"):
        source = rows("cot_in_context", pool=few, num=3, demonstrations=kind)
        assert not any(itself(example) for example in read(source, 24))
    source = rows("cot_in_context", pool=few, num=3, demonstrations="official")
    assert sum(itself(example) for example in read(source, 12)) >= 5


def test_too_few_training_rows_are_told(rows):
    source = rows("cot_in_context", pool=TRAIN[:3], num=4)
    with pytest.raises(UserError, match=r"too few records with a rationale for 4 demonstrations"):
        source.example("train", 0)


def test_demonstrations_that_have_no_room_are_left_out_and_counted(rows):
    whole = rows("cot_in_context", num=2)
    longest = max(len(str(e["inputs"])) for e in read(whole, 12))
    source = rows("cot_in_context", num=2, max_inputs=longest - 30)
    found = read(source, 12)
    assert all(str(e["inputs"]).endswith("Let's think step by step") for e in found)
    assert {str(e["inputs"]).count("\n\n") for e in found} == {1}
    assert cut_prompts(source, SOLUTIONS, ("cot_in_context", "cot_zero_shot")) == {
        "cot_in_context": 12
    }
    alone = rows("cot_in_context", num=2, max_inputs=60)
    assert {str(e["inputs"]).count("\n\n") for e in read(alone, 12)} == {0}
    assert cut_prompts(whole, SOLUTIONS, ("cot_in_context",)) == {"cot_in_context": 0}


def test_colons_and_question_marks_of_the_format_survive_in_questions(rows):
    odd = dataclasses.replace(
        sum_record(2, 2),
        question="Q: Ratio 1: 2, Answer: none. A: What: is 2 + 2?",
        rationale="So: 2 + 2: 4\nQ: done",
    )
    for form in FORMATS:
        (example,) = read(rows(form, records=[odd], pool=[*TRAIN, odd]), 1)
        assert odd.question in str(example["inputs"])
        assert str(example["question"]) == odd.question
        if FORMATS[form].cot:
            assert example["targets"] == f"{odd.rationale}\nThe answer is 4"


def test_a_data_set_that_is_none_is_told(little_sums):
    assert records_of(DATA_SET).name == DATA_SET
    with pytest.raises(UserError, match="no task or mixture named 'little_sumz_cot_zero_shot'"):
        records_of("little_sumz")
