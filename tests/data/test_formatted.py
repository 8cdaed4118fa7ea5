"""Record sets in a format as sources of examples."""

import json

import pytest

from tlm_jax.data import tasks
from tlm_jax.data.demonstrations import DemonstrationPool, DemonstrationSettings
from tlm_jax.data.formats import FORMATS
from tlm_jax.data.formatted import FormattedRecords, MappedRecords, register_formats
from tlm_jax.data.record_sets import GeneratedRecords, LoadedRecords
from tlm_jax.data.records import Record
from tlm_jax.errors import UserError


def record(i, split="train", rationale: str | None = "r", answer="A"):
    return Record(str(i), "d", split, "choice", f"q{i}", ("x", "y"), answer, rationale)


RECORDS = LoadedRecords(
    "d",
    {
        "train": lambda _: [
            record(0),
            record(1, rationale=None),
            record(2),
            Record("3", "d", "train", "text", "q3", None, "", "r"),
        ],
        "test": lambda _: [record(4, "test", rationale=None)],
        "train_bare": lambda _: [record(5, rationale=None)],
    },
    unreadable={"secret": "it is hidden."},
)


def test_an_example_has_its_strings_and_what_evaluation_needs():
    source = FormattedRecords(RECORDS, FORMATS["cot_zero_shot"])
    assert source.example("train", 0) == {
        "id": "0",
        "dataset": "d",
        "kind": "choice",
        "question": "q0",
        "options_json": json.dumps(["x", "y"]),
        "answer": "A",
        "traits_json": '{"words": 5, "steps": 1, "options": 2}',
        "inputs": "Q: q0 (A) x (B) y\nLet's think step by step",
        "targets": "r\nThe answer is (A)",
    }


def test_training_splits_leave_out_what_the_format_cannot_use_and_others_keep_it():
    cot = FormattedRecords(RECORDS, FORMATS["cot_zero_shot"])
    answer = FormattedRecords(RECORDS, FORMATS["answer_zero_shot"])
    assert [cot.example("train", i)["id"] for i in range(2)] == ["0", "2"]
    assert cot.num_examples("train") == 2
    assert answer.num_examples("train") == 3
    assert cot.num_examples("test") == 1
    assert cot.example("test", 0)["targets"] == "The answer is (A)"


def test_a_split_without_any_rationale_says_so():
    cot = FormattedRecords(RECORDS, FORMATS["cot_zero_shot"])
    with pytest.raises(UserError, match="no record of the split 'train_bare' has a rationale"):
        cot.num_examples("train_bare")


def test_a_teacher_s_solution_is_learned_without_a_gold_answer():
    solved = Record("6", "d", "train", "text", "q6", None, "", None).with_generated(targets="s")
    splits = {name: lambda _: [solved] for name in ("train", "all", "validation")}
    source = FormattedRecords(LoadedRecords("d", splits), FORMATS["cot_zero_shot"])
    assert [source.example(split, 0)["targets"] for split in ("train", "all")] == ["s", "s"]
    with pytest.raises(UserError, match="no record of the split 'validation' has an answer"):
        source.num_examples("validation")
    answers = FormattedRecords(LoadedRecords("d", splits), FORMATS["answer_zero_shot"])
    with pytest.raises(UserError, match=r"has an answer.*a chain-of-thought format needs none"):
        answers.num_examples("all")


@pytest.mark.parametrize(
    ("split", "message"),
    [("secret", "d has no split 'secret': it is hidden."), ("tran", "Did you mean 'train'")],
)
def test_splits_that_cannot_be_read_say_why(split, message):
    source = FormattedRecords(RECORDS, FORMATS["cot_zero_shot"])
    with pytest.raises(UserError) as error:
        source.check_split(split)
    assert message in str(error.value)
    with pytest.raises(UserError):
        source.num_examples(split)


def test_in_context_examples_hold_the_demonstrations():
    pool = DemonstrationPool(RECORDS, settings=DemonstrationSettings(num=1))
    source = FormattedRecords(RECORDS, FORMATS["cot_in_context"], pool)
    assert source.example("train", 0)["inputs"] == (
        "Q: q2 (A) x (B) y\nLet's think step by step\nr\nThe answer is (A)\n\n"
        "Q: q0 (A) x (B) y\nLet's think step by step"
    )


def test_an_endless_set_stays_endless():
    endless = GeneratedRecords("e", ("train",), lambda split, i: record(i, split))
    source = FormattedRecords(endless, FORMATS["answer_zero_shot"])
    assert source.num_examples("train") is None
    assert source.example("train", 10**12)["id"] == str(10**12)


def test_mapped_records_take_any_pair_of_strings():
    source = MappedRecords(RECORDS, lambda r, _: (r.question, r.answer))
    example = source.example("test", 0)
    assert (example["inputs"], example["targets"], example["answer"]) == ("q4", "A", "A")


def test_register_formats_registers_four_tasks_and_reads_nothing():
    def explode(_):
        raise AssertionError("read at registration")

    records = LoadedRecords("lazy", {"train": explode})
    names = [task.name for task in register_formats("lazy_test_set", records)]
    try:
        assert names == [f"lazy_test_set_{form}" for form in FORMATS]
        assert all(tasks.get_task(name).vocabulary.size == 1024 for name in names)
    finally:
        for name in names:
            tasks.unregister(name)
