"""Tiny models, and solutions that `cache_teacher score` reads."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from tlm_jax.runs.cache_teacher.commands import score
from tlm_jax.teacher_cache import TeacherCache

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden" / "hf"
PROMPT = "Q: {question}\n"
TEMPLATE = "{% for message in messages %}[{{ message.content }}]{% endfor %}"
SOLUTIONS = [
    {"id": "a", "sample": 0, "question": "2+2?", "solution": "2+2=4\nThe answer is 4"},
    {"id": "a", "sample": 1, "question": "2+2?", "solution": "The answer is 5"},
    {"id": "b", "sample": 0, "question": "1+2?", "solution": "1+2=3\nThe answer is 3"},
]
SOLUTIONS = [{**row, "answer": {"a": "4", "b": "3"}[row["id"]]} for row in SOLUTIONS]


def make_model(directory: Path, golden: str) -> Path:
    """A model with random weights whose tokens are the printable ASCII bytes and a few pairs."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    shutil.copytree(GOLDEN / golden, directory)
    special = ["<pad>", "</s>", "<s>"]
    letters = [chr(code) for code in range(0x21, 0x7F)] + ["Ġ", "Ċ"]
    merges = [("a", "n"), ("an", "s"), ("i", "s"), ("Ċ", "T"), ("Ġ", "is")]
    words = [*special, *letters, *("".join(pair) for pair in merges)]
    tokenizer = Tokenizer(models.BPE({word: n for n, word in enumerate(words)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(special)
    tokenizer.save(str(directory / "tokenizer.json"))
    config = {"eos_token": "</s>", "bos_token": "<s>", "pad_token": "<pad>"}
    (directory / "tokenizer_config.json").write_text(json.dumps(config))
    (directory / "chat_template.jinja").write_text(TEMPLATE)
    return directory


def run(model: Path, cache: Path, *settings: str) -> Any:
    named = [f"MODEL={model}", f"OUTPUT_DIR={cache}", "NUM_CANDIDATES=104", "BATCH_SIZE=8"]
    assert score([*named, *settings]) == 0
    return TeacherCache.open(cache)
