"""Models with random weights that read and write a few words, and questions for them."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tlm_jax.runs.command_line import configuration as command_line
from tlm_jax.runs.command_line.arguments import configured_parser
from tlm_jax.runs.evaluation.config import EvalConfig
from tlm_jax.runs.evaluation.run import run_evaluation

ROOT = Path(__file__).parents[3]
GOLDEN = ROOT / "tests" / "golden" / "hf"
WORDS = "The answer is yes no Q: A: <b>fish</b> dogs cats birds can fly bark swim sing well"
# `(A` is what a tokenizer may make of the bracket and the letter behind it.
LISTS = "( A B (A (A) (B) (B Yes No So"


def make_model(directory: Path, golden: str) -> Path:
    """A window of 64 tokens, the decoder-only one."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

    shutil.copytree(GOLDEN / golden, directory)
    special = ["<pad>", "</s>", "<s>"]
    vocabulary = {word: n for n, word in enumerate([*special, *WORDS.split(), *LISTS.split()])}
    vocabulary |= {f"w{n}": n for n in range(len(vocabulary), 128)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"\s+"), "removed")
    tokenizer.decoder = decoders.Metaspace(replacement=" ")
    tokenizer.add_special_tokens(special)
    tokenizer.save(str(directory / "tokenizer.json"))
    config = {"eos_token": "</s>", "bos_token": "<s>", "pad_token": "<pad>"}
    (directory / "tokenizer_config.json").write_text(json.dumps(config))
    return directory


def _write_records(path: Path, rows: list[dict[str, Any]]) -> None:
    """A record a row; what a row leaves out is filled in."""
    common = {"split": "test", "options": None, "rationale": None, "meta": {}}
    records = [
        {"id": f"{path.stem}-{n}", "dataset": path.stem, **common, **row}
        for n, row in enumerate(rows)
    ]
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


@pytest.fixture(scope="session")
def write_records() -> Callable[[Path, list[dict[str, Any]]], None]:
    """Returns what writes a file of records, given what is special about each."""
    return _write_records


def creak(questions: list[str]) -> list[dict[str, Any]]:
    """Claims that are false, true, false, ..."""
    return [
        {
            "kind": "boolean",
            "question": question,
            "answer": "yes" if n % 2 else "no",
            "rationale": "so. it is" if n < 4 else "so",
        }
        for n, question in enumerate(questions)
    ]


@pytest.fixture(scope="session")
def world(tmp_path_factory) -> Path:
    """A decoder-only model `one`, an encoder-decoder `t5`, and questions in `data`."""
    folder = tmp_path_factory.mktemp("eval")
    for name, golden in (("one", "llama_tied_linear_rope"), ("t5", "mt5")):
        make_model(folder / name, golden)
    (folder / "data").mkdir()
    animals = ["dogs", "cats", "birds", "<b>fish</b>"]
    questions = [f"{a} can {v} well" for a in animals for v in ("fly", "bark")]
    _write_records(folder / "data" / "creak_dev.jsonl", creak(questions))
    train = [questions[0].upper() + "!", f"so then {questions[3]} and so on", "birds can sing"]
    _write_records(folder / "data" / "creak_train.jsonl", creak(train))
    return folder


@pytest.fixture(scope="session")
def evaluate(world) -> Callable[..., dict[str, Any]]:
    """Runs an evaluation of `one` on CREAK into a folder; keywords replace macros of eval.gin."""

    def run(output: Path, **bindings: Any) -> dict[str, Any]:
        known = configured_parser("eval", "").parse_args([])
        known.gin_file = [str(ROOT / "gin_configs" / "eval.gin")]
        settings = {
            "OUTPUT_DIR": str(output),
            "CHECKPOINTS": [str(world / "one")],
            "EVAL_TASKS": ["creak_answer_zero_shot"],
            "EVAL_SPLIT": "validation",
            "TASK_FEATURE_LENGTHS": {"inputs": 24, "targets": 8},
            "EVAL_BATCH_SIZE": 8,
            "DATA_DIR": str(world / "data"),
            **bindings,
        }
        config, text = command_line.load(
            EvalConfig, known, [f"{name}={value!r}" for name, value in settings.items()]
        )
        return run_evaluation(config, text)

    return run
