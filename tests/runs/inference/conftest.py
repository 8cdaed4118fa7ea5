"""A model of two layers, prompts for it, and the command that draws samples from it."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import io
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tlm_jax import infer

ROOT = Path(__file__).parents[3]
GOLDEN = ROOT / "tests" / "golden" / "hf"
TEMPLATE = "{% for message in messages %}<s> {{ message.content }} {% endfor %}w9"
Samples = dict[tuple[str, int], dict[str, Any]]
Run = Callable[..., int]


@pytest.fixture(scope="session")
def make_model() -> Callable[[Path, str], Path]:
    """Returns what makes a model with random weights that reads and writes the words w3 to w99."""

    def make(directory: Path, golden: str) -> Path:
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers

        shutil.copytree(GOLDEN / golden, directory)
        special = ["<pad>", "</s>", "<s>"] if golden == "mt5" else ["<pad>", "<s>", "</s>"]
        words = {word: n for n, word in enumerate([*special, *(f"w{n}" for n in range(3, 100))])}
        tokenizer = Tokenizer(models.WordLevel(words, unk_token="<pad>"))
        tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        tokenizer.decoder = decoders.Fuse()
        tokenizer.add_special_tokens(special)
        tokenizer.save(str(directory / "tokenizer.json"))
        config = {"eos_token": "</s>", "bos_token": "<s>", "pad_token": "<pad>"}
        (directory / "tokenizer_config.json").write_text(json.dumps(config))
        (directory / "chat_template.jinja").write_text(TEMPLATE)
        return directory

    return make


@pytest.fixture(scope="session")
def llama(make_model, tmp_path_factory) -> Path:
    """A window of 64 tokens."""
    return make_model(tmp_path_factory.mktemp("models") / "llama", "llama_tied_linear_rope")


@pytest.fixture(scope="session")
def write_prompts() -> Callable[..., Path]:
    """Returns what writes a file of prompts, each an object."""

    def write(path: Path, *prompts: dict[str, Any]) -> Path:
        path.write_text("".join(json.dumps(prompt) + "\n" for prompt in prompts))
        return path

    return write


@pytest.fixture(scope="session")
def prompts(tmp_path_factory, write_prompts) -> Path:
    """Text, a conversation, and an answer that is no number."""
    return write_prompts(
        tmp_path_factory.mktemp("prompts") / "prompts.jsonl",
        {"id": "one", "prompt": "w5 w6 w7", "answer": "42"},
        {"id": "two", "prompt": "w9", "answer": "w3", "kind": "text"},
        {"id": "three", "messages": [{"role": "user", "content": "w11 w12"}]},
        {"id": "four", "prompt": "w4 " * 20, "answer": "forty", "kind": "numeric"},
    )


@pytest.fixture(scope="session")
def run() -> Run:
    """Returns the command: model, prompts, folder, further settings."""

    def run(model: Path | str, prompts: Path, output: Path, *settings: str) -> int:
        common = [f"MODEL={model}", f"PROMPTS={prompts}", f"OUTPUT_DIR={output}", "MAX_TOKENS=6"]
        return infer.main([*common, "BATCH_SIZE=8", *settings])

    return run


@pytest.fixture(scope="session")
def samples() -> Callable[[Path], Samples]:
    """Returns what reads the samples of a folder by prompt and number, in the file's order."""

    def read(output: Path) -> Samples:
        text = (output / "samples.jsonl").read_text()
        lines = [json.loads(line) for line in text.splitlines()]
        found = {(line["id"], line["sample"]): line for line in lines}
        assert len(found) == len(lines)
        return found

    return read


@dataclasses.dataclass(frozen=True)
class Drawn:
    """A finished run.

    Attributes:
      output: its folder, not to be changed.
      settings: beside those of `run`.
      samples: what it drew.
      shown: what it printed.
    """

    output: Path
    settings: tuple[str, ...]
    samples: Samples
    shown: str


@pytest.fixture(scope="session")
def drawn(run, samples, llama, prompts, tmp_path_factory) -> Drawn:
    """Three samples of each prompt with two candidates a token."""
    output = tmp_path_factory.mktemp("drawn") / "out"
    settings = ("NUM_SAMPLES=3", "NUM_CANDIDATES=2")
    with contextlib.redirect_stdout(io.StringIO()) as shown:
        assert run(llama, prompts, output, *settings) == 0
    return Drawn(output, settings, samples(output), shown.getvalue())


@pytest.fixture
def server() -> Iterator[Any]:
    """The misbehaving server of the client's own tests."""
    spec = importlib.util.spec_from_file_location("remote", ROOT / "tests/remote/conftest.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    scripted = module.ScriptedServer()
    yield scripted
    scripted.close()


@pytest.fixture
def remote(run, server) -> Run:
    """As `run`, with the server as the model."""

    def remote(prompts: Path, output: Path, *settings: str) -> int:
        return run(f"openai:{server.url},tiny", prompts, output, "TIMEOUT=5", *settings)

    return remote
