"""Every format of TeacherLM's students as a literal text, and its tasks."""

import dataclasses

import pytest

from tlm_jax.data import tasks
from tlm_jax.data.record_sets import LoadedRecords
from tlm_jax.data.records import Record
from tlm_jax.data.teacher_lm.lines import Layout
from tlm_jax.data.teacher_lm.students import STUDENT_FORMATS, sequences
from tlm_jax.data.teacher_lm.tasks import (
    StudentSequences,
    rank_task,
    register_student_formats,
    student_task,
)
from tlm_jax.errors import UserError

T = "Q: Who flies? (A) owl (B) eel A:"
ANS = "The answer is (A)."
C = "Let's think step by step. Owls have wings."
M = "The common mistakes are: To think of fins."
F = "The fundamental of this question is: Wings carry."
RECORD = Record(
    "q1", "d", "train", "choice", "Who flies?", ("owl", "eel"), "A", "An owl is a bird."
).with_generated(
    cot=" Owls have wings.",
    error=" To think of fins. ",
    fundamental="Wings carry.",
    outside="Look.",
)
TEXTS = {
    "text": [f"{T} {ANS}"],
    "manual_mid": [f"{T} An owl is a bird. {ANS}"],
    "manual_tail": [f"{T} {ANS} An owl is a bird."],
    "cot_mid": [f"{T} {C} {ANS}"],
    "cot_tail": [f"{T} {ANS} {C}"],
    "fundamental_tail": [f"{T} {ANS} {F}"],
    "error_tail": [f"{T} {ANS} {M}"],
    "outside_tail": [f"{T} {ANS} Let's think step by step. Look."],
    "triple": [f"{T} {ANS} {C}", f"{T} {ANS} {F}", f"{T} {ANS} {M}"],
    "c": [f"{T} {ANS} {C}"],
    "cm": [f"{T} {ANS} {C} {M}"],
    "cmf": [f"{T} {ANS} {C} {M} {F}"],
    "fcm": [f"{T} {ANS} {F} {C} {M}"],
    "m": [f"{T} {ANS} {M}"],
    "f": [f"{T} {ANS} {F}"],
    "shuffle": [f"{T} {ANS} {C} {F} {M}"],
}


def of(*records):
    return LoadedRecords("d", {"train": lambda _: list(records)})


def test_every_format_has_its_text_here():
    assert TEXTS.keys() == STUDENT_FORMATS.keys()


@pytest.mark.parametrize("form", TEXTS)
def test_the_whole_sequence_of_each_format(form):
    source = StudentSequences(of(RECORD), form)
    assert source.num_examples("train") == len(TEXTS[form])
    found = [source.example("train", place) for place in range(len(TEXTS[form]))]
    assert [example["targets"] for example in found] == TEXTS[form]
    assert all("inputs" not in example for example in found)


@pytest.mark.parametrize("form", TEXTS)
def test_pairs_and_answers_divide_the_same_text_behind_the_question(form):
    for place, text in enumerate(TEXTS[form]):
        pair = StudentSequences(of(RECORD), form, "pairs").example("train", place)
        assert (pair["inputs"], pair["targets"]) == (T, text.removeprefix(f"{T} "))
        answer = StudentSequences(of(RECORD), form, "answers").example("train", place)
        assert (answer["inputs"], answer["targets"]) == (T, text.removeprefix(T))


def test_markers_before_the_answer_and_of_manual_text_can_be_chosen():
    bare = Layout(mid_marker=False, manual_marker="Because:")
    assert sequences("cot_mid", RECORD, bare) == [(T, f"Owls have wings. {ANS}")]
    assert sequences("cot_tail", RECORD, bare) == [(T, f"{ANS} {C}")]
    assert sequences("manual_tail", RECORD, bare) == [(T, f"{ANS} Because: An owl is a bird.")]


def test_a_manual_text_of_its_own_goes_before_the_rationale():
    record = RECORD.with_generated(manual="Seen at night.")
    assert sequences("manual_tail", record) == [(T, f"{ANS} Seen at night.")]


def test_chinese_sequences():
    record = dataclasses.replace(
        RECORD,
        question="谁会飞？",
        options=("猫头鹰", "鳗鱼"),
        meta={"language": "zh"},
        generated={"cot": "有翅膀。", "error": "想到鳍。", "fundamental": "翅膀。"},
    )
    assert " ".join(sequences("fcm", record)[0]) == (
        "问： 谁会飞？ （A）猫头鹰 （B）鳗鱼 答： 答案是（A）。 这道题的基础知识是： 翅膀。 "
        "让我们一步一步地思考。 有翅膀。 常见的错误是： 想到鳍。"
    )


def test_shuffled_orders_belong_to_records_and_all_occur():
    records = [dataclasses.replace(RECORD, id=str(number)) for number in range(60)]
    texts = [sequences("shuffle", record)[0][1] for record in records]
    assert len(set(texts)) == 6
    assert texts == [sequences("shuffle", record)[0][1] for record in records]


@pytest.mark.parametrize(
    ("form", "field"), [("cmf", "error"), ("cot_mid", "cot"), ("f", "fundamental")]
)
def test_a_missing_field_names_record_and_field(form, field):
    left = {name: text for name, text in RECORD.generated.items() if name != field}
    source = StudentSequences(of(dataclasses.replace(RECORD, generated=left)), form)
    with pytest.raises(UserError, match=f"record 'q1' of 'd' has no field '{field}'; enrich"):
        source.example("train", 0)
    empty = dataclasses.replace(RECORD, generated={**left, field: " "})
    with pytest.raises(UserError, match=f"record 'q1' of 'd' has an empty field '{field}'; leave"):
        StudentSequences(of(empty), form).example("train", 0)


def test_of_three_tails_those_are_trained_that_a_record_has():
    some = dataclasses.replace(RECORD, id="q2", generated={"error": "To think of fins."})
    source = StudentSequences(of(some, RECORD), "triple")
    texts = [
        source.example("train", n)["targets"] for n in range(source.num_examples("train") or 0)
    ]
    assert texts == [f"{T} {ANS} {M}", *TEXTS["triple"]]
    none = dataclasses.replace(RECORD, generated={})
    with pytest.raises(UserError, match="record 'q1' of 'd' has no field 'cot'"):
        StudentSequences(of(none), "triple").num_examples("train")


def test_unknown_formats_are_answered_with_the_nearest():
    with pytest.raises(UserError, match=r"no format of students 'cot_tial'\. .*cot_tail"):
        StudentSequences(of(RECORD), "cot_tial")


def test_tasks_of_each_format_and_kind_of_model():
    made = register_student_formats("test_set", of(RECORD), formats=("text", "triple"))
    try:
        assert [task.name for task in made] == [
            "test_set_teacherlm_rank",
            "test_set_teacherlm_text",
            "test_set_teacherlm_text_answers",
            "test_set_teacherlm_text_pairs",
            "test_set_teacherlm_triple",
            "test_set_teacherlm_triple_answers",
            "test_set_teacherlm_triple_pairs",
        ]
        whole = tasks.get_task(student_task("test_set", "text"))
        assert (whole.features, whole.eos_features) == (("targets",), ("targets",))
        answers = tasks.get_task(student_task("test_set", "text", "answers"))
        assert answers.features == ("inputs", "targets")
        assert answers.eos_features == ("targets",)
        pairs = tasks.get_task(student_task("test_set", "text", "pairs"))
        assert pairs.eos_features == ("inputs", "targets")
    finally:
        for task in made:
            tasks.unregister(task.name)


def test_claims_are_carried_to_evaluation_as_they_are_asked():
    claim = Record("7", "creak", "train", "boolean", "Soup is solid.", None, "no")
    layout = Layout(instruction="True?")
    asked = StudentSequences(of(claim), "text", "letters", layout).example("train", 0)
    assert asked["inputs"] == "Q: True? Soup is solid. (A) True (B) False A: The answer is ("
    assert (asked["kind"], asked["answer"]) == ("choice", "B")
    assert asked["options_json"] == '["True", "False"]'
    assert asked["question"] == "True? Soup is solid."


def test_the_embedded_set_and_any_file_have_them_all():
    tasks.load_tasks()
    for data_set in ("exam", "exam_english", "exam_chinese", "examples"):
        assert tasks.get_task(rank_task(data_set))
        for form in STUDENT_FORMATS:
            for learned in ("whole", "answers", "pairs"):
                assert tasks.get_task(student_task(data_set, form, learned)).description
    triple = tasks.get_task(student_task("exam", "triple")).source
    three = [triple.example("train", 3 + n)["targets"] for n in range(3)]
    once = [
        tasks.get_task(student_task("exam", form)).source.example("train", 1)["targets"]
        for form in ("cot_tail", "fundamental_tail", "error_tail")
    ]
    assert three == once
