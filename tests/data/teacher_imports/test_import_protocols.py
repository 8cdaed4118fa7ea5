"""Answers in the forms of other servers: candidates by token id, other protocols, streams."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from imported_answers import chat, close, token

from tlm_jax.errors import UserError
from tlm_jax.runs.cache_teacher.commands import import_captured


def vllm(*steps: tuple[tuple[str, float], ...]) -> list[dict[str, Any]]:
    """Candidates by id, as vLLM's offline interface writes them; the chosen one stands first."""
    ids: dict[str, int] = {}
    return [
        {
            str(ids.setdefault(text, len(ids) + 7)): {
                "logprob": value,
                "rank": rank,
                "decoded_token": text,
            }
            for rank, (text, value) in enumerate(step, start=1)
        }
        for step in steps
    ]


@pytest.mark.parametrize("ids", [None, [9, 8]])
def test_candidates_by_token_id(imported, ids):
    steps = vllm((("5", -2.0), ("4", -0.2)), (("2", -0.1), ("3", -3.0)))
    if ids is not None:  # they tell which was written, whatever the order
        steps = [{"5": {"logprob": -0.2, "decoded_token": "4"}, **steps[0]}, steps[1]]
        steps[0] = {"9": steps[0]["7"], "5": steps[0]["5"]}
        steps[1] = {"8": steps[1]["9"], "2": steps[1]["10"]}
        steps[0] = dict(reversed(steps[0].items()))
    output = {"text": "52", "token_ids": ids, "logprobs": steps, "finish_reason": "stop"}
    output = {name: value for name, value in output.items() if value is not None}
    echoed = [None, {"1": {"logprob": -1.0, "rank": 1, "decoded_token": "6*7="}}]
    asked = {"prompt": "6*7=", "prompt_logprobs": echoed}
    assert imported(output, choices=None, response={"outputs": [output]}, **asked) == [b"5", b"2"]
    assert imported.candidates == [
        close({b"5": math.exp(-2.0), b"4": math.exp(-0.2)}),
        close({b"2": math.exp(-0.1), b"3": math.exp(-3.0)}),
    ]


def test_candidates_by_token_id_that_leave_something_open(imported):
    steps = vllm((("4", -0.2),), (("2", -0.1),))
    output = {"text": "42", "logprobs": steps, "finish_reason": "stop"}
    silent = {"logprob": -0.2, "rank": 1, "decoded_token": None}
    odd = [
        ({**output, "logprobs": [{"7": silent}, steps[1]]}, "ids in place of tokens' texts"),
        ({**output, "logprobs": [{"7": -0.2}, {"8": -0.1}]}, "not what the protocol says"),
        ({**output, "logprobs": [{}, steps[1]]}, "not what the protocol says"),
        ({**output, "token_ids": [5, 6]}, "not what the protocol says"),
        ({**output, "token_ids": [7]}, "not what the protocol says"),
        (
            {"message": {"content": "42"}, "prompt_logprobs": [None, steps[0]]},
            "log-probabilities of the prompt alone (prompt_logprobs)",
        ),
    ]
    for choice, reason in odd:
        assert imported(choice, chat("fine", "fine")) == [b"fine"]
        assert reason in imported.shown


def test_answers_of_other_protocols(imported):
    entries = [token("4", math.log(0.5), ("5", math.log(0.25))), token("2")]
    parts = [{"type": "output_text", "text": "42", "logprobs": entries}]
    thought = {"type": "reasoning", "content": [{"type": "reasoning_text", "text": "6*7"}]}
    items = [thought, {"type": "message", "role": "assistant", "content": parts}]
    responses = {"object": "response", "status": "completed", "error": None, "output": items}

    def one(text: str, value: float) -> dict[str, Any]:
        return {"token": text, "tokenId": 1, "logProbability": value}

    chosen = [one("4", math.log(0.5)), one("2", -0.1)]
    tops = [{"candidates": [chosen[0], one("5", math.log(0.25))]}, {"candidates": [chosen[1]]}]
    gemini = {
        "content": {"parts": [{"text": "6*7", "thought": True}, {"text": "42"}], "role": "model"},
        "finishReason": "STOP",
        "logprobsResult": {"chosenCandidates": chosen, "topCandidates": tops},
    }
    for answer, request in (
        (
            responses,
            {"input": [{"role": "user", "content": [{"type": "input_text", "text": "Q"}]}]},
        ),
        (responses, {"input": "Q"}),
        ({"candidates": [gemini]}, {"contents": [{"role": "user", "parts": [{"text": "Q"}]}]}),
    ):
        row = {"choices": None, "question": None, "response": answer, "request": {"body": request}}
        assert imported({}, **row) == [b"4", b"2"]
        assert imported.candidates[0] == close({b"4": 0.5, b"5": 0.25})
        assert imported.records[0].question == "Q"
    for answer, reason in (
        ({**responses, "status": "incomplete"}, "unfinished"),
        ({"candidates": [{**gemini, "finishReason": "MAX_TOKENS"}]}, "unfinished"),
        ({"candidates": [{**gemini, "finishReason": "SAFETY"}]}, "unfinished"),
        ({"type": "message", "content": [{"type": "text", "text": "42"}]}, "without log-prob"),
    ):
        with pytest.raises(UserError, match=f"can be cached: 1 {reason}"):
            imported({}, choices=None, response=answer)


@pytest.mark.parametrize("streamed", ["chat", "completions"])
def test_the_chunks_of_one_answer_in_a_list(imported, streamed):
    chunks: list[Any] = []
    for text, end in (("4", None), ("2", None), ("", "stop")):
        if streamed == "chat":
            listed = {"content": [token(text, math.log(0.5))]} if text else None
            part: dict[str, Any] = {"delta": {"content": text}, "logprobs": listed}
        else:
            listed = {"tokens": [text], "token_logprobs": [math.log(0.5)]} if text else None
            part = {"text": text, "logprobs": listed}
        chunks.append({"id": "s", "choices": [{"index": 0, "finish_reason": end, **part}]})
    chunks.append({"id": "s", "choices": [], "usage": {"completion_tokens": 2}})
    assert imported({}, choices=None, response=chunks) == [b"4", b"2"]
    assert imported.candidates[0] == close({b"4": 0.5})


def test_a_line_may_be_a_list(tmp_path, capsys):
    asked = tmp_path / "q.jsonl"
    asked.write_text('{"id": "s", "question": "Q?"}\n')
    chunk = {
        "id": "s",
        "choices": [{"delta": {"content": "4"}, "logprobs": {"content": [token("4")]}}],
    }
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps([chunk]) + "\n3\n" + json.dumps([{"id": "s", "choices": []}]))
    to = ["--teacher=t", "--questions", str(asked), "--output_dir", str(tmp_path / "c")]
    assert import_captured(["openai", str(path), *to]) == 0
    shown = capsys.readouterr().out
    assert "kept      1 solutions" in shown
    assert "left out  1 no answer of a server" in shown
    assert "left out  1 an answer without choices" in shown


def test_a_stream_of_events_is_told(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('data: {"object": "chat.completion.chunk"}\n\ndata: [DONE]\n')
    with pytest.raises(UserError, match=r"a.jsonl:1: not valid JSON .*stream of events"):
        import_captured(["openai", str(path), "--teacher=t", "--output_dir", str(tmp_path / "c")])
    path.write_text("[" * 100_000)
    with pytest.raises(UserError, match=r"a.jsonl:1: not valid JSON"):
        import_captured(["openai", str(path), "--teacher=t", "--output_dir", str(tmp_path / "c")])
