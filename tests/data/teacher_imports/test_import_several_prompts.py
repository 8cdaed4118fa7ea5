"""Captured requests with several prompts: each choice is of its own prompt, or counted."""

import json

import pytest

from tlm_jax.data.teacher_imports import openai_answers


def choice(index, text):
    logprobs = {"tokens": [text], "token_logprobs": [-0.25], "top_logprobs": [{text: -0.25}]}
    return {"index": index, "text": text, "finish_reason": "stop", "logprobs": logprobs}


def read(tmp_path, row, *questions):
    path = tmp_path / "answers.jsonl"
    path.write_text(json.dumps(row) + "\n")
    return list(openai_answers.read_answers(path, *questions))


@pytest.mark.parametrize("inside", [False, True])
def test_choices_belong_to_the_prompts_of_their_index(tmp_path, inside):
    asked = {"prompt": ["one?", "two?"], "n": 2}
    answer = {"choices": [choice(i, f" {i}") for i in (2, 0, 3, 1)]}
    row = {"id": "r", "request": asked, "response": answer} if inside else {**asked, **answer}
    found = read(tmp_path, row)
    assert [(c.question, c.text) for c in found] == [
        *(("one?", "0"), ("one?", "1"), ("two?", "2"), ("two?", "3"))
    ]
    assert len({c.id for c in found}) == 4
    assert [found[0].question_id == c.question_id for c in found] == [True, True, False, False]


def test_an_echo_is_of_its_own_prompt(tmp_path):
    choices = [choice(0, "one? 1"), choice(1, "two? 2")]
    found = read(tmp_path, {"prompt": ["one?", "two?"], "echo": True, "choices": choices})
    assert [(c.question, c.before, c.text) for c in found] == [
        *(("one?", "one?", "1"), ("two?", "two?", "2"))
    ]


def test_one_prompt_in_a_list_is_one(tmp_path):
    row = {"prompt": ["one?"], "choices": [choice(0, " 0"), choice(1, " 1")]}
    assert [c.question for c in read(tmp_path, row)] == ["one?", "one?"]
    asked = {"request": {"prompt": ["one?"]}, "response": {"choices": [choice(0, " 0")]}}
    assert [c.question for c in read(tmp_path, asked)] == ["one?"]


@pytest.mark.parametrize(
    ("more", "choices", "reason"),
    [
        ({"question": "one?"}, (0, 1), "one question or answer for all: write a line for each"),
        ({"answer": "1"}, (0, 1), "one question or answer for all"),
        ({}, (0, 1, 2), "choices that their indices do not allot"),
        ({}, (0, 2), "choices that their indices do not allot"),
        ({}, (None, None), "choices that their indices do not allot"),
        ({"n": 2}, (0, 1), "choices that their indices do not allot"),
        ({"prompt": [[5, 6], [7]]}, (0, 1), "several prompts at once, not all of them text"),
    ],
)
def test_what_cannot_be_allotted_is_counted(tmp_path, more, choices, reason):
    row = {"prompt": ["one?", "two?"], "choices": [choice(i, " 0") for i in choices], **more}
    (found,) = read(tmp_path, row)
    assert (found.question, found.text, found.steps) == ("", "", None)
    assert reason in found.problem


def test_a_file_of_questions_has_one_for_all(tmp_path):
    row = {"id": "r", "prompt": ["1?", "2?"], "choices": [choice(0, " 0"), choice(1, " 1")]}
    (found,) = read(tmp_path, row, {"r": {"question": "one?"}})
    assert "--questions tells one question of" in found.problem
