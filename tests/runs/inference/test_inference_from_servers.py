"""Samples of OpenAI-compatible servers that misbehave."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tlm_jax.errors import UserError

SECRET = "sk-very-secret-0123456789"


def test_samples_of_a_server(remote, samples, server, prompts, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TEACHER_KEY", SECRET)

    def script(number: int, payload: dict[str, Any]) -> tuple[int, dict[str, str], Any]:
        if number % 3 == 0:
            return 429, {"Retry-After": "0.01"}, {"error": {"message": f"slow down, {SECRET}"}}
        text = f"The answer is 42. {SECRET}"
        if "messages" in payload:
            logprobs = {"content": [{"token": "T", "logprob": -0.5, "top_logprobs": []}]}
            choice = {"message": {"content": text}, "finish_reason": "stop", "logprobs": logprobs}
        else:
            logprobs = {"tokens": ["T"], "token_logprobs": [-0.5], "top_logprobs": [{"T": -0.5}]}
            choice = {"text": text, "finish_reason": "length", "logprobs": logprobs}
        return 200, {}, {"choices": [choice], "usage": {"prompt_tokens": 5, "completion_tokens": 1}}

    server.script = script
    settings = ["NUM_SAMPLES=2", "API_KEY_VARIABLE=TEACHER_KEY", "NUM_CANDIDATES=1", "STOP=['x']"]
    settings += ["INPUT_PRICE=1", "OUTPUT_PRICE=2"]
    assert remote(prompts, tmp_path / "out", *settings) == 0
    found = samples(tmp_path / "out")
    assert len(found) == 8
    assert found["one", 1]["correct"] is True
    assert found["one", 1]["logprobs"] == [-0.5]
    assert found["one", 1]["candidates"] == [{"tokens": ["T"], "logprobs": [-0.5]}]
    assert {r["path"] for r in server.requests} == {"/v1/completions", "/v1/chat/completions"}
    assert all(r["stop"] == ["x"] and r["model"] == "tiny" for r in server.requests)
    assert {r["seed"] for r in server.requests} == {sample["seed"] for sample in found.values()}
    assert all(h["Authorization"] == f"Bearer {SECRET}" for h in server.headers)
    shown = capsys.readouterr()
    assert re.search(r"\d+ x HTTP 429", shown.out)
    assert "40 prompt + 8 generated tokens, cost 0.0001" in shown.out
    written = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) > 10  # samples, settings, summary and the cache
    assert not [
        data for data in [*written, (shown.out + shown.err).encode()] if SECRET.encode() in data
    ]


def test_nothing_that_was_paid_for_is_asked_again(remote, samples, server, prompts, tmp_path):
    remote(prompts, tmp_path / "out", "NUM_SAMPLES=2")
    assert len(server.requests) == 8
    remote(prompts, tmp_path / "out", "NUM_SAMPLES=2")
    cache = tmp_path / "out" / "responses"
    remote(prompts, tmp_path / "other", "NUM_SAMPLES=2", f"RESPONSE_CACHE_DIR={cache}")
    assert len(server.requests) == 8
    assert [s["text"] for s in samples(tmp_path / "other").values()] == ["four"] * 8
    remote(prompts, tmp_path / "none", "RESPONSE_CACHE_DIR=''")
    assert len(server.requests) == 12
    assert not (tmp_path / "none" / "responses").exists()


def test_what_a_server_refuses_is_counted_and_tried_again_later(
    remote, samples, server, prompts, tmp_path, capsys
):
    good = server.script

    def script(number: int, payload: dict[str, Any]) -> tuple[int, dict[str, str], Any]:
        if payload.get("prompt") == "w9":
            return 400, {}, {"error": {"message": "too long for this model"}}
        return good(number, payload)

    server.script = script
    assert remote(prompts, tmp_path / "out") == 1
    shown = capsys.readouterr().out
    assert "no sample 0 of 'two': HTTP 400: too long for this model" in shown
    assert "note: 1 samples are missing; the same command tries them again" in shown
    assert not (tmp_path / "out" / "samples.jsonl").exists()
    server.script = good
    assert remote(prompts, tmp_path / "out") == 0
    assert len(samples(tmp_path / "out")) == 4
    assert len(server.requests) == 5


def test_a_refused_key_ends_the_run_at_once(remote, server, prompts, tmp_path):
    server.script = lambda number, payload: (401, {}, {"error": {"message": "wrong key"}})
    with pytest.raises(UserError, match=r"the model gives no samples: HTTP 401: wrong key\. 0 new"):
        remote(prompts, tmp_path / "out", "CONCURRENCY=1", "NUM_SAMPLES=50")
    assert len(server.requests) < 10
