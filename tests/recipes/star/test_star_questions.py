"""Which questions a loop asks: none of the development set, none of a test set."""

from __future__ import annotations

import dataclasses
import json

import pytest

from tlm_jax.data import tasks
from tlm_jax.data.formats import get_format
from tlm_jax.data.formatted import FormattedRecords
from tlm_jax.data.record_sets import LoadedRecords
from tlm_jax.data.records import Record, write_records
from tlm_jax.data.run_data import RunData
from tlm_jax.errors import UserError
from tlm_jax.recipes.recipe import RecipeConfig, run_recipe
from tlm_jax.recipes.star.config import QuestionsConfig
from tlm_jax.recipes.star.questions import read_questions

TASK = "riddles_of_the_test"
RIDDLES = [
    "How many legs have three spiders?",
    "How many days have two weeks?",
    "What is ten less four?",
    "How many wheels have six cars?",
]
TRAIN = RIDDLES[:3]


def riddle(question: str, split: str) -> Record:
    return Record(f"{split} {question}", "riddles", split, "numeric", question, None, "24")


@pytest.fixture(autouse=True)
def riddles():
    """Registers the task."""
    splits = {
        "train": lambda _: [riddle(q, "train") for q in TRAIN],
        "dev": lambda _: [riddle("how many days have two weeks", "dev"), riddle(RIDDLES[3], "dev")],
        "test": lambda _: [riddle(f"Think: {RIDDLES[0]}", "test")],
    }
    form = get_format("answer_zero_shot")
    tasks.register_task(TASK, FormattedRecords(LoadedRecords("riddles", splits), form))
    yield
    tasks.unregister(TASK)


def questions(**fields):
    return read_questions(QuestionsConfig(TASK, dev_split="dev", **fields), RunData())


def asked(found) -> list[str]:
    return [record.question for record in found.asked]


def test_questions_of_the_development_set_are_not_asked():
    found = questions().of_loop(1)
    assert asked(found) == [RIDDLES[0], RIDDLES[2]]
    assert found.left_out == {"in the development set": 1}


def test_questions_of_a_test_set_are_not_asked(tmp_path):
    file = tmp_path / "held_out.jsonl"
    write_records(file, [riddle(RIDDLES[2], "test")])
    # A task alone means its split `test`, where the question is a part of a longer one.
    found = questions(test_sets=[TASK]).of_loop(1)
    assert asked(found) == [RIDDLES[2]]
    assert found.left_out == {"in the development set": 1, f"in {TASK}": 1}
    with pytest.raises(UserError) as caught:
        questions(test_sets=[f"{TASK}:test", str(file)]).of_loop(1)
    assert str(caught.value) == (
        f"none of 3 questions of the split 'train' of {TASK} is left to learn from (1 in {TASK}:"
        f"test, 1 in the development set, 1 in {file}): choose another DEV_SPLIT or fewer TEST_SETS"
    )


def test_a_test_set_that_is_not_there_is_an_error_before_any_work():
    with pytest.raises(UserError, match="no_such_task"):
        questions(test_sets=["no_such_task"])


def test_a_split_without_questions_is_an_error_before_any_work(tmp_path):
    write_records(tmp_path / "mine.jsonl", [riddle(RIDDLES[0], "train")])
    data = RunData(examples_file=tmp_path / "mine.jsonl")
    with pytest.raises(UserError) as caught:
        read_questions(QuestionsConfig("examples_answer_zero_shot"), data)
    assert str(caught.value) == (
        "the split 'validation' of examples_answer_zero_shot holds no questions: set DEV_SPLIT to "
        "one that does, or name that split in some of your records"
    )


def test_each_loop_draws_its_own():
    fresh = [questions(num_train=2, fresh=True).of_loop(loop) for loop in range(1, 6)]
    same = [questions(num_train=2).of_loop(loop) for loop in range(1, 6)]
    assert all(len(found.asked) + sum(found.left_out.values()) == 2 for found in fresh)
    assert len({tuple(asked(found)) for found in fresh}) > 1
    assert {tuple(asked(found)) for found in same} == {tuple(asked(fresh[0]))}


def test_what_is_not_asked_is_counted_in_results_and_page(star, tmp_path):
    config = star().config.questions
    held_out = tmp_path / "held_out.jsonl"
    write_records(held_out, [read_questions(config, RunData()).of_loop(1).asked[0]])
    method = star(loops=1, questions=dataclasses.replace(config, test_sets=[str(held_out)]))
    results = run_recipe(RecipeConfig(str(tmp_path / "out"), method), "configuration")
    assert results is not None
    loop = results["arms"][0]["loops"][1]
    assert loop["questions_left_out"] == {f"in {held_out}": 1}
    assert (loop["attempts"]["questions"], loop["selection"]["attempts"]) == (15, 15)
    told = json.loads((tmp_path / "out/questions/stage.json").read_text())["figures"]
    assert told == {"dev": 4, "train": 15, "left_out": {f"in {held_out}": 1}}
    page = (tmp_path / "out/report.html").read_text()
    assert f"questions that were not asked: 1 in {held_out}" in page
