"""Tiny models with a tokenizer of words, opened on one device, and their plain forward pass."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tlm_jax import models
from tlm_jax.lm_eval.arguments import parse_arguments
from tlm_jax.lm_eval.opened import HarnessModel, open_model

GOLDEN = Path(__file__).parents[1] / "golden" / "hf"
TEMPLATE = (
    "{% for message in messages %}{% if message.role == 'system' and message.content == 'w9' %}"
    "{{ raise_exception('no w9') }}{% endif %}<s> {{ message.role }} {{ message.content | trim }} "
    "</s> {% endfor %}{% if add_generation_prompt %}<s> assistant {% endif %}"
)
_FORWARD = jax.jit(models.logits, static_argnames="config")
_LENGTH = 32


def make_model(directory: Path, source: Path, *, encodes: bool) -> Path:
    """Returns a model with random weights that reads and writes the words w5 to w99."""
    from tokenizers import Tokenizer, decoders, pre_tokenizers, processors
    from tokenizers import models as tokenizer_models

    shutil.copytree(source, directory)
    special = ["<pad>", "</s>", "<unk>"] if encodes else ["<pad>", "<s>", "</s>"]
    special += ["user", "assistant"]
    words = {word: n for n, word in enumerate([*special, *(f"w{n}" for n in range(5, 100))])}
    tokenizer = Tokenizer(tokenizer_models.WordLevel(words, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens(special[:3])
    own = "</s>" if encodes else "<s>"
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"$A {own}" if encodes else f"{own} $A", special_tokens=[(own, words[own])]
    )
    tokenizer.save(str(directory / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": "</s>",
        "pad_token": "<pad>",
        **({} if encodes else {"bos_token": "<s>"}),
    }
    (directory / "tokenizer_config.json").write_text(json.dumps(config))
    (directory / "chat_template.jinja").write_text(TEMPLATE)
    return directory


@pytest.fixture(scope="session")
def model_directories(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A decoder-only and an encoder-decoder model, by kind."""
    directory = tmp_path_factory.mktemp("models")
    return {
        "decoder": make_model(
            directory / "decoder", GOLDEN / "llama_tied_linear_rope", encodes=False
        ),
        "encoder_decoder": make_model(directory / "encoder_decoder", GOLDEN / "mt5", encodes=True),
    }


@pytest.fixture(scope="session")
def tied_t5(tmp_path_factory: pytest.TempPathFactory, shared_dir: Path) -> Path:
    """An encoder-decoder with one embedding for both ends.

    The harness ties them in every T5 and mT5 that it loads, whatever the model says.
    """
    directory = tmp_path_factory.mktemp("tied") / "t5"
    return make_model(directory, shared_dir / "fixtures" / "hf" / "t5_v1_0", encodes=True)


@pytest.fixture(scope="session")
def opened(model_directories: dict[str, Path]) -> dict[str, HarnessModel]:
    """The same, opened."""
    return {
        kind: open_model(
            parse_arguments({"pretrained": str(path), "max_length": 24}), jax.devices()[:1]
        )
        for kind, path in model_directories.items()
    }


@pytest.fixture(scope="session")
def plain_logits() -> Callable[..., np.ndarray]:
    """Returns `logits(model, context, continuation) -> [T, V]`, by the whole forward pass."""

    def logits(model: HarnessModel, context: list[int], continuation: list[int]) -> np.ndarray:
        if model.encoder_decoder:
            inputs = [model.start_id, *continuation[:-1]]
            batch: dict[str, Any] = {
                "encoder_input_tokens": context,
                "encoder_segment_ids": np.ones_like(context),
                "decoder_target_tokens": continuation,
            }
        else:
            inputs = [*context, *continuation][:-1]
            batch = {"decoder_target_tokens": inputs}
        batch |= {"decoder_input_tokens": inputs, "decoder_segment_ids": np.ones_like(inputs)}
        rows = {
            name: jnp.asarray(np.pad(array, (0, _LENGTH - len(array))), jnp.int32)[None]
            for name, array in batch.items()
        }
        whole = np.asarray(_FORWARD(model.params, rows, model.config)[0], np.float64)
        return whole[len(inputs) - len(continuation) : len(inputs)]

    return logits
