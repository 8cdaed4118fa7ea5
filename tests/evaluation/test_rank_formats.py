"""Contexts and options as text, for choices, truth values and lists in the question."""

import json
import sys
from typing import Any

import pytest

from tlm_jax.data.formats import FORMATS
from tlm_jax.data.formatted import FormattedRecords
from tlm_jax.data.record_sets import LoadedRecords
from tlm_jax.data.records import Record, read_records
from tlm_jax.data.tasks import load_tasks
from tlm_jax.errors import UserError
from tlm_jax.evaluation.rank_formats import (
    RANK_FORMATS,
    RankFormat,
    options_of,
    rank_format,
    right_option,
)


def example(
    kind: Any = "choice", question="Who flies?", options=("owl", "eel"), answer="A", **meta
):
    record = Record("7", "d", "test", kind, question, options, answer, None, meta)
    source = FormattedRecords(
        LoadedRecords("d", {"test": lambda _: [record]}), FORMATS["answer_zero_shot"]
    )
    return source.example("test", 0)


LISTED = "Who flies?\nOptions:\n(A) owl\n(B) eel"


@pytest.mark.parametrize(
    ("made", "answers", "written", "letters", "right"),
    [
        (example(), ["A", "B"], ["(A)", "(B)"], ["A", "B"], 0),
        (example("boolean", options=None, answer="no"), ["yes", "no"], None, ["A", "B"], 1),
        (
            example("text", LISTED, ("(A) owl", "(B) eel"), "(B)"),
            ["(A)", "(B)"],
            None,
            ["A", "B"],
            1,
        ),
        (example("text", LISTED, ("(A) owl", "(B) eel"), "eel"), ["(A)", "(B)"], None, None, 1),
        (example("text", "Is it?", ("Yes", "No"), "No"), ["Yes", "No"], None, [None, None], 1),
        (example("text", "Is it?", ("Yes", "No"), "maybe"), ["Yes", "No"], None, None, -1),
        (example("text", options=None, answer="owl"), [], None, None, -1),
        (example("numeric", options=None, answer="3"), [], None, None, -1),
    ],
)
def test_options(made, answers, written, letters, right):
    options = options_of(made)
    assert [option.answer for option in options] == answers
    assert [option.written for option in options] == (written or answers)
    if letters is not None:
        assert [option.letter for option in options] == letters
    assert right_option(made, options) == right


def shown(form, made):
    options = options_of(made)
    texts = [form.continuation_of(option, made) for option in options]
    return form.context_of(made, options), texts


def test_the_task_own_strings():
    form = RANK_FORMATS["task"]
    answers = ["The answer is (A)", "The answer is (B)"]
    assert shown(form, example()) == ("Q: Who flies? (A) owl (B) eel A:", answers)
    listed = example("text", LISTED, ("(A) owl", "(B) eel"), "(B)")
    assert shown(form, listed) == (f"Q: {LISTED} A:", answers)
    assert form.asks(listed, options_of(listed))


def test_teacherlm_contexts():
    form = RANK_FORMATS["teacherlm"]
    context = "Q: Who flies? (A) owl (B) eel A: The answer is ("
    assert shown(form, example()) == (context, ["A", "B"])
    listed = example("text", LISTED, ("(A) owl", "(B) eel"), "(B)")
    assert shown(form, listed) == (f"Q: {LISTED} A: The answer is (", ["A", "B"])
    asked = example(question="Who\nflies", subject="high_school_biology")
    assert shown(RANK_FORMATS["teacherlm_mmlu"], asked) == (
        "The following are multiple choice questions (with answers) about high school biology. "
        "Q: Who flies. (A) owl (B) eel A: The answer is (",
        ["A", "B"],
    )
    for end in '.,?!"':
        text = shown(RANK_FORMATS["teacherlm_mmlu"], example(question=f"So{end}", subject="x"))[0]
        assert f"Q: So{end} (A)" in text


def test_teacherlm_contexts_are_those_of_its_published_questions(shared_dir):
    for name, before in (("creak", "Q: "), ("strategyqa", "Q: "), ("ecqa", "")):
        path = shared_dir / "data" / f"teacherlm_eval_{name}.jsonl.gz"
        for _, record in zip(range(50), read_records(path)):
            source = FormattedRecords(
                LoadedRecords("d", {"test": lambda _, r=record: [r]}), FORMATS["answer_zero_shot"]
            )
            context, _ = shown(RANK_FORMATS["teacherlm"], source.example("test", 0))
            assert context == f"{before}{record.meta['eval_question']} A: The answer is ("
            if name == "ecqa":
                doubled, _ = shown(RANK_FORMATS["teacherlm_doubled"], source.example("test", 0))
                assert doubled == f"Q: {record.meta['eval_question']} A: The answer is ("


def test_letters_behind_a_task_s_own_prompt():
    made = {**example(), "inputs": "问： 谁会飞？ 答： 答案是（", "targets": "A）。"}
    assert shown(RANK_FORMATS["letter"], made) == (made["inputs"], ["A", "B"])
    assert RANK_FORMATS["letter"].asks(made, options_of(made))


def test_own_templates():
    form = rank_format("teacherlm", "{inputs} So {{x}}:", "{letter} {text} {answer}")
    assert shown(form, example()) == (
        "Q: Who flies? (A) owl (B) eel A: So {x}:",
        ["A owl (A)", "B eel (B)"],
    )
    assert rank_format("teacherlm", None, "{answer}").context == RANK_FORMATS["teacherlm"].context


def test_only_what_is_written_as_expected_is_asked_unless_the_option_is_named():
    made = example()
    thought = {**made, "targets": "Owls do.\nThe answer is (A)"}
    options = options_of(made)
    assert RankFormat().asks(made, options)
    assert not RankFormat().asks(thought, options)
    assert RankFormat(continuation="So: {answer}").asks(thought, options)
    assert not RankFormat(continuation="So: {answer}").asks(thought, options[:1])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("teacherLM", None, None), "no RANK_FORMAT 'teacherLM'. Did you mean 'teacherlm'"),
        (("task", "{questions}", None), "RANK_CONTEXT has no field {questions}. Did you mean"),
        (("task", None, "{question}"), "RANK_CONTINUATION has no field {question}"),
        (("task", "{", None), "RANK_CONTEXT '{' is no template"),
    ],
)
def test_what_is_wrong_with_a_format(arguments, message):
    with pytest.raises(UserError) as error:
        rank_format(*arguments)
    assert message in str(error.value)


def test_what_a_question_lacks():
    with pytest.raises(UserError, match=r"question '7' has no subject"):
        shown(RANK_FORMATS["teacherlm_mmlu"], example())
    with pytest.raises(UserError, match=r"the option 'Yes' has no letter; set RANK_CONTINUATION"):
        shown(RANK_FORMATS["teacherlm"], example("text", "Is it?", ("Yes", "No"), "No"))


def test_every_bbh_question_with_options_is_asked(shared_dir):
    load_tasks()
    with_options = sys.modules["tlm_jax_tasks.bbh"].with_options
    asked, none, unreadable = {}, set(), []
    for record in read_records(shared_dir / "data" / "bbh.jsonl.gz"):
        made = with_options(record)
        source = {
            "id": made.id,
            "kind": "text",
            "answer": made.answer,
            "options_json": json.dumps(made.options),
            "targets": f"The answer is {made.answer}",
        }
        options = options_of(source)
        if not options:
            none.add(made.meta["task"])
        elif right_option(source, options) < 0:
            unreadable.append(made.answer)
        else:
            task = made.meta["task"]
            asked[task] = asked.get(task, 0) + RankFormat().asks(source, options)
    assert len(asked) == 23
    assert none == {
        "dyck_languages",
        "multistep_arithmetic_two",
        "object_counting",
        "word_sorting",
    }
    assert unreadable == ["Monsters, Inc", "dearth, wind, & fire", "rita, sue and bob poo"]
    assert sum(asked.values()) == 5507
