"""Samples of OpenAI-compatible servers that misbehave."""

from __future__ import annotations

import json
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
    # The others are there to be worked with.
    assert list(samples(tmp_path / "out")) == [("one", 0), ("three", 0), ("four", 0)]
    summary = json.loads((tmp_path / "out" / "summary-host-00000.json").read_text())
    failure = {"id": "two", "sample": 0, "reason": "HTTP 400: too long for this model"}
    assert summary["failures"] == [failure]
    server.script = good
    assert remote(prompts, tmp_path / "out") == 0
    assert len(samples(tmp_path / "out")) == 4
    assert len(server.requests) == 5
    assert not list((tmp_path / "out" / "parts").glob("failed-*"))


def test_one_refused_prompt_does_not_end_a_run_however_often_it_is_asked(
    remote, samples, server, prompts, tmp_path
):
    good = server.script

    def script(number: int, payload: dict[str, Any]) -> tuple[int, dict[str, str], Any]:
        refused = payload.get("prompt") == "w9"
        return (400, {}, {"detail": "no"}) if refused else good(number, payload)

    server.script = script
    assert remote(prompts, tmp_path / "out", "NUM_SAMPLES=30") == 1
    assert len(samples(tmp_path / "out")) == 90


ODD = [
    {"choices": [{"text": "4", "finish_reason": "st\ud800op"}]},
    {"choices": [{"text": "4", "logprobs": {"tokens": ["4"], "token_logprobs": [float("inf")]}}]},
    {"choices": [{"text": "4", "logprobs": {"tokens": ["4"], "token_logprobs": [10**400]}}]},
    {"choices": [{"text": "4", "token_ids": [10**30]}]},
    {"error": {"message": "the \x1b[31mmodel\ud800 is away"}},
    b"[" * 100_000,
    b'{"choices": [{"text": ' + b"9" * 100_000 + b"}]}",
]


@pytest.mark.parametrize("odd", ODD, ids=range(len(ODD)))
def test_one_malformed_answer_is_one_failed_sample(
    remote, samples, server, prompts, tmp_path, capsys, odd
):
    good = server.script

    def script(number: int, payload: dict[str, Any]) -> tuple[int, dict[str, str], Any]:
        return (200, {}, odd) if payload.get("prompt") == "w9" else good(number, payload)

    server.script = script
    for asked in (4, 5):  # what is kept does not end the next run either
        assert remote(prompts, tmp_path / "out", "RETRIES=0") == 1
        shown = capsys.readouterr().out
        assert "no sample 0 of 'two': an" in shown or "no sample 0 of 'two': error" in shown
        assert "\x1b" not in shown
        assert len(samples(tmp_path / "out")) == 3
        assert len(server.requests) == asked


def test_odd_values_that_cost_no_answer(remote, samples, server, write_prompts, tmp_path, capsys):
    listed = {
        "tokens": ["4", "\ud800"],
        "token_logprobs": [None, float("-inf")],
        "top_logprobs": [None, {"4": -0.5, "5": None, "6": float("-inf")}],
    }
    choice = {"text": "4\ud800", "finish_reason": "\x1b[2Jdone", "logprobs": listed}
    usage = {"prompt_tokens": 5.0, "completion_tokens": -3}
    server.script = lambda number, payload: (200, {}, {"choices": [choice], "usage": usage})
    asked = write_prompts(tmp_path / "p.jsonl", {"id": "a", "prompt": "2+2="})
    assert remote(asked, tmp_path / "out", "NUM_CANDIDATES=2") == 0
    (found,) = samples(tmp_path / "out").values()
    assert (found["text"], found["logprobs"]) == ("4?", [None, -9999.0])
    assert found["candidates"][1] == {"tokens": ["4", "6"], "logprobs": [-0.5, -9999.0]}
    shown = capsys.readouterr().out
    assert r"ended by 1 \x1b[2Jdone" in shown
    assert "5 prompt + 0 generated tokens" in shown
    assert len(server.requests) == 1


def test_a_short_key_changes_neither_what_is_asked_nor_what_is_kept(
    remote, samples, server, write_prompts, tmp_path, monkeypatch
):
    monkeypatch.setenv("OPENAI_API_KEY", "test")
    server.script = lambda number, payload: (200, {}, {"choices": [{"text": payload["prompt"]}]})
    asked = write_prompts(tmp_path / "p.jsonl", {"prompt": "this is a test"})
    assert remote(asked, tmp_path / "out") == 0
    assert server.requests[0]["prompt"] == "this is a test"
    assert server.headers[0]["Authorization"] == "Bearer test"
    (found,) = samples(tmp_path / "out").values()
    assert (found["prompt"], found["text"]) == ("this is a test",) * 2


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ("{'echo': True}", "answers the prompt as a part of the text"),
        ("{'return_tokens_as_token_ids': True}", "'return_token_ids' gives both"),
        ("{'top_logprobs': 3}", "which the run sets itself"),
        ("{'a': 1e999}", "cannot be sent as JSON"),
    ],
)
def test_further_fields_that_are_refused(remote, prompts, tmp_path, extra, message):
    with pytest.raises(UserError, match=message):
        remote(prompts, tmp_path / "out", f"REQUEST_EXTRA={extra}")


def test_a_refused_key_ends_the_run_at_once(remote, server, prompts, tmp_path):
    server.script = lambda number, payload: (401, {}, {"error": {"message": "wrong key"}})
    with pytest.raises(UserError, match=r"the model gives no samples: HTTP 401: wrong key\. 0 new"):
        remote(prompts, tmp_path / "out", "CONCURRENCY=1", "NUM_SAMPLES=50")
    assert len(server.requests) < 10
