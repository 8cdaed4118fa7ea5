"""Answers of OpenAI-compatible servers and our own samples, as files hold them."""

import math
from typing import Any

import pytest
from json_lines import write

from tlm_jax.data.teacher_imports import openai_answers
from tlm_jax.data.teacher_imports.captured import within_text
from tlm_jax.errors import UserError


def read(*arguments) -> list[Any]:
    return list(openai_answers.read_answers(*arguments))


def entry(token, logprob, *tops):
    def one(text, value):
        return {"token": text, "logprob": value, "bytes": list(text.encode())}

    return {**one(token, logprob), "top_logprobs": [one(*top) for top in tops]}


CHAT = {
    "finish_reason": "stop",
    "message": {"role": "assistant", "content": "It is é."},
    "logprobs": {
        "content": [
            entry("It", -0.1, ("It", -0.1), ("The", -2.5)),
            entry(" is", -3.0, (" was", -0.2), (" has", -2.9)),
            {
                "token": "\\xc3",
                "logprob": -0.5,
                "bytes": [0x20, 0xC3],
                "top_logprobs": [
                    {"token": "a", "logprob": -9999.0, "bytes": None},
                    {"token": "\\xc3", "logprob": -0.5, "bytes": [0x20, 0xC3]},
                ],
            },
            {"token": "\\xa9", "logprob": 0.0, "bytes": [0xA9], "top_logprobs": []},
            entry(".", -0.3),
            entry("<|im_end|>", -0.01),
        ]
    },
}


def test_chat_completions_with_bytes(tmp_path):
    path = write(
        tmp_path / "answers.jsonl",
        {"id": "q1", "question": "What?", "answer": 4, "response": {"choices": [CHAT]}},
        {
            "custom_id": "q2",
            "request": {"body": {"messages": [{"role": "user", "content": "Which?"}]}},
            "response": {"status_code": 200, "body": {"id": "chatcmpl-1", "choices": [CHAT, CHAT]}},
        },
    )
    found = read(path)
    assert [(c.id, c.question, c.answer) for c in found] == [
        ("q1", "What?", "4"),
        ("q2/0", "Which?", None),
        ("q2/1", "Which?", None),
    ]
    steps = found[0].steps
    kept = within_text(steps, found[0].text)
    assert [step.piece for step in kept] == [
        *(b"It", b" is", b" \xc3", b"\xa9", b"."),
        "<|im_end|>",
    ]
    # The written token was not among the two most probable: it is one more.
    assert kept[1].alternatives == ((b" was", -0.2), (b" has", -2.9), (b" is", -3.0))
    assert kept[2].alternatives == ((b"a", -math.inf), (b" \xc3", -0.5))
    assert kept[3].alternatives == ((b"\xa9", 0.0),)


def test_completions_and_samples_of_infer(tmp_path):
    completion = {
        "text": " 4.",
        "finish_reason": "length",
        "logprobs": {
            "tokens": [" 4", "."],
            "token_logprobs": [-0.25, -0.5],
            "top_logprobs": [{" 4": -0.25, " 5": -1.75}, None],
        },
    }
    sample = {
        "id": "q",
        "sample": 3,
        "question": "2+2?",
        "text": " 4.",
        "finish_reason": "stop",
        "num_tokens": 2,
        "tokens": [" 4", "."],
        "logprobs": [-0.25, -0.5],
        "gold": "4",
        "rule": "numeric",
        "correct": True,
        "candidates": [
            {"tokens": [" 4", " 5"], "logprobs": [-0.25, -1.75]},
            {"tokens": [], "logprobs": []},
        ],
    }
    path = write(tmp_path / "answers.jsonl", {"prompt": "2+2=", "choices": [completion]}, sample)
    first, second = read(path)
    assert first.steps == second.steps
    assert [len(step.alternatives) for step in first.steps] == [2, 1]
    assert (first.id, first.question, first.finished) == ("answers-1", "2+2=", False)
    assert (second.id, second.question_id, second.finished) == ("q/3", "q", True)
    assert (second.answer, second.kind, second.correct) == ("4", "numeric", True)


def llama_cpp(token, logprob, *tops, id=0):
    """An entry as llama.cpp writes it; tops are (id, bytes, log-probability)."""

    def one(number, content, value):
        text = content.decode("utf-8", "replace")
        return {"id": number, "token": text, "bytes": list(content), "logprob": value}

    return {**one(id, token, logprob), "top_logprobs": [one(*top) for top in tops]}


def test_the_end_of_a_text_in_llama_cpp_is_an_empty_token(tmp_path):
    """As captured: special tokens are empty texts, told apart by their ids."""
    content = [
        llama_cpp(b"4", -0.5, (36, b"4", -0.5), (2, b"", -1.5), (1, b"", -4.0), id=36),
        llama_cpp(b"", -0.25, (2, b"", -0.25), (30, b".", -2.0), id=2),
    ]
    choice = {"text": "4", "finish_reason": "stop", "logprobs": {"content": content}}
    sample = {
        "text": "4",
        "num_tokens": 2,
        "finish_reason": "stop",
        "tokens": ["4", ""],
        "logprobs": [-0.5, -0.25],
        "candidates": [
            {"tokens": ["4", ""], "logprobs": [-0.5, -1.5]},
            {"tokens": ["", "."], "logprobs": [-0.25, -2.0]},
        ],
    }
    cut = {**choice, "finish_reason": "length"}
    rows = [{"prompt": "2+2=", **row} for row in ({"choices": [choice, cut]}, sample)]
    whole, cut, sampled = read(write(tmp_path / "a.jsonl", *rows))
    end = "<|endoftext|>"
    assert whole.steps[0].alternatives == ((b"4", -0.5), (end, -1.5), (b"", -4.0))
    assert within_text(whole.steps, "4")[1].alternatives == ((end, -0.25), (b".", -2.0))
    assert sampled.steps[0].alternatives == whole.steps[0].alternatives[:2]
    assert sampled.steps[1] == whole.steps[1]
    # A text that a limit cut off does not tell which of its special tokens would have ended it.
    assert cut.steps[0].alternatives == ((b"4", -0.5), (b"", -1.5))


def test_a_character_that_llama_cpp_joins_has_no_candidates(tmp_path):
    """As captured: the entry has the whole character, its candidates are of the last byte."""
    bird, tops = "\N{BIRD}".encode(), ((116, b"\xa6", -0.02), (133, b"\xb8", -4.5))
    joined = llama_cpp(bird, -0.02, *tops, id=116)
    apart = [llama_cpp(bird[:3], -0.1, (7, bird[:3], -0.1)), llama_cpp(b"\xa6", -0.02, *tops)]
    unknown = entry("\N{BIRD}", -3.0, ("\ufffd", -0.5), ("a", -2.0))
    for top in unknown["top_logprobs"]:
        del top["bytes"]
    plain = entry("b", -1.0, ("a", -0.5), ("\ufffd", -2.0), ("b", -1.0))
    del plain["top_logprobs"][1]["bytes"]
    content = [joined, *apart, unknown, plain]
    text = "\N{BIRD}" * 3 + "b"
    choice = {"text": text, "finish_reason": "stop", "logprobs": {"content": content}}
    row = {"prompt": "Draw.", "choices": [choice]}
    (found,) = read(write(tmp_path / "a.jsonl", row))
    steps = within_text(found.steps, text)
    assert [step.piece for step in steps] == [bird, bird[:3], bird[3:], bird, b"b"]
    assert [step.alternatives for step in steps] == [
        (),
        ((bird[:3], -0.1),),
        ((b"\xa6", -0.02), (b"\xb8", -4.5)),
        (),
        ((b"a", -0.5), (b"b", -1.0)),
    ]


def test_questions_from_a_file_of_their_own(tmp_path):
    answers = write(tmp_path / "a.jsonl", {"custom_id": "7", "response": {"choices": [CHAT]}})
    asked = write(
        tmp_path / "q.jsonl",
        {"id": 7, "question": "Why?", "answer": "B", "kind": "choice", "options": ["x", "y"]},
    )
    questions = openai_answers.read_questions(asked)
    (found,) = read(answers, questions)
    assert (found.question, found.answer, found.options) == ("Why?", "B", ("x", "y"))
    with pytest.raises(UserError, match=r"a.jsonl:1 does not say what was asked.*--questions"):
        read(answers)
    with pytest.raises(UserError, match="has no id '7'"):
        read(answers, {})
    write(asked, {"id": 7, "question": "Why?"}, {"id": "7", "question": "Why?"})
    with pytest.raises(UserError, match=r"q.jsonl:2: the id '7' stands twice"):
        openai_answers.read_questions(asked)


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"result": "4"}, "no answer of a server: expected 'choices'"),
        ({"response": "4"}, "no answer of a server: expected 'choices'"),
        ({"response": []}, "no answer of a server: expected 'choices'"),
        ({"choices": [4]}, "no answer of a server: expected 'choices'"),
        ({"response": [{"choices": [4]}]}, "no answer of a server: expected 'choices'"),
        ({"choices": []}, "an answer without choices"),
        ({"choices": None}, "an answer without choices"),
        ({"response": [{"object": "chat.completion.chunk", "choices": []}]}, "without choices"),
        ({"candidates": [], "usageMetadata": {}}, "an answer without choices"),
        ({"promptFeedback": {"blockReason": "SAFETY"}}, "an answer without choices"),
        ({"object": "response", "output": [{"type": "function_call"}]}, "without a text"),
        ({"object": "chat.completion.chunk", "choices": [{"delta": {}}]}, "join the chunks of"),
        ({"choices": [{"delta": {"content": "4"}}]}, "a chunk of a streamed answer"),
        ({"object": "chat.completion.chunk", "choices": []}, "a chunk of a streamed answer"),
        ({"choices": [{"text": "4", "finish_reason": None}]}, "a chunk of a streamed answer"),
    ],
)
def test_lines_that_are_no_answers_are_counted(tmp_path, row, problem):
    good = {"question": "?", "choices": [CHAT]}
    found = read(write(tmp_path / "a.jsonl", {"question": "?", **row}, good))
    assert problem in found[0].problem
    assert [one.text for one in found[1:]] == ["It is é."]


def test_the_last_chunk_of_a_stream_is_no_answer_either(tmp_path):
    chunks = [
        {"id": "c", "choices": [{"text": text, "finish_reason": end}]}
        for text, end in (("4", None), ("2", "stop"))
    ]
    found = read(write(tmp_path / "a.jsonl", *({"prompt": "6*7=", **one} for one in chunks)))
    assert ["a chunk" in one.problem for one in found] == [True, True]


def test_a_sample_that_has_no_number(tmp_path):
    row = {"question": "?", "sample": "x", "choices": [{"text": "a"}]}
    with pytest.raises(UserError, match=r"a.jsonl:1: sample is 'x', expected a whole number"):
        read(write(tmp_path / "a.jsonl", row))


def test_an_answer_without_log_probabilities_has_no_steps(tmp_path):
    row = {"question": "?", "choices": [{"message": {"content": "x"}, "logprobs": None}]}
    (found,) = read(write(tmp_path / "a.jsonl", row))
    assert (found.text, found.steps) == ("x", None)
