"""Tiny models whose tokenizers write other tokens around texts, and what is read of a task."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, cast

import numpy as np

from tlm_jax.checkpoints.pretrained import open_pretrained
from tlm_jax.data.pipeline.store import open_readers
from tlm_jax.data.reading import Reading
from tlm_jax.runs.opened.reading import ReadingSettings, reading_of
from tlm_jax.vocabularies import ByteVocabulary, HuggingFaceVocabulary, vocabulary_from_name

GOLDEN = Path(__file__).parents[1] / "golden" / "hf"


BYTES = ByteVocabulary()


TASK = "addition_direct"


LENGTHS = {"inputs": 40, "targets": 12}


HABITS = {"none": None, "bos": "<s> $A", "both": "<s> $A </s>", "null": None}
"""What the tokenizer writes around a text; the last one has no BOS at all."""


def make_model(directory: Path, habit: str) -> Path:
    """A decoder-only model with random weights; its tokens are the printable ASCII bytes."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

    shutil.copytree(GOLDEN / "llama_tied_linear_rope", directory)
    # As the model's own configuration has it, </s> is 2.
    special = ["!", "<x>", "</s>"] if habit == "null" else ["<pad>", "<s>", "</s>"]
    letters = [chr(code) for code in range(0x22, 0x7F)] + ["Ġ", "Ċ"]
    words = {word: n for n, word in enumerate([*special, *letters])}
    tokenizer = Tokenizer(models.BPE(words, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([token for token in special if token != "!"])
    if HABITS[habit] is not None:
        ids = [(token, words[token]) for token in ("<s>", "</s>")]
        tokenizer.post_processor = processors.TemplateProcessing(
            single=HABITS[habit], special_tokens=ids
        )
    tokenizer.save(str(directory / "tokenizer.json"))
    bos = None if habit == "null" else "<s>"
    config = {"eos_token": "</s>", "bos_token": bos}
    (directory / "tokenizer_config.json").write_text(json.dumps(config))
    return directory


def examples(path: Path, start: list[int], end: list[int]) -> list[tuple[list[int], list[int]]]:
    """Returns contexts and targets of the task's first examples, put together by hand."""
    vocabulary = vocabulary_from_name(str(path))
    _, readers = open_readers(TASK, "validation", feature_lengths=LENGTHS, vocabulary=BYTES)
    records = readers[TASK].read(np.arange(3)).records
    return [
        (
            [*start, *vocabulary.encode(str(record["inputs"])).tolist(), *end],
            [*vocabulary.encode(str(record["targets"])).tolist(), vocabulary.eos_id],
        )
        for record in records
    ]


def reading(path: Path, **settings: Any) -> tuple[HuggingFaceVocabulary, Reading]:
    source, vocabulary = open_pretrained(path), vocabulary_from_name(str(path))
    found = reading_of(source.config, vocabulary, source, ReadingSettings(**settings))
    return cast(HuggingFaceVocabulary, vocabulary), found


def rows_of(batch: dict[str, Any], prefix: str = "") -> list[tuple[list[int], list[int]]]:
    """Returns what is read before the first target of each row, and the targets."""
    found = []
    for read, targets, weights in zip(
        *(
            batch[f"{prefix}decoder_{name}"]
            for name in ("input_tokens", "target_tokens", "loss_weights")
        )
    ):
        places = np.flatnonzero(weights)
        found.append((read[: places[0] + 1].tolist(), targets[places].tolist()))
    return found
