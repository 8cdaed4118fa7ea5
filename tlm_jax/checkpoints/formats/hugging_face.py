"""Directories as Hugging Face's transformers reads and writes them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tlm_jax.checkpoints.formats.blocks import Written, copy_blocks
from tlm_jax.checkpoints.formats.safetensors_files import (
    SafetensorsWriter,
    index_json,
    open_safetensors,
    shard_names,
    shards,
)
from tlm_jax.errors import UserError
from tlm_jax.lazy import LazyArray
from tlm_jax.text_files import read_json_object

CONFIG = "config.json"
GENERATION_CONFIG = "generation_config.json"
WEIGHTS = "model.safetensors"
INDEX = WEIGHTS + ".index.json"
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "spiece.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
    GENERATION_CONFIG,
)
SHARD_BYTES = 5_000_000_000


def is_hugging_face(path: Path) -> bool:
    """Returns whether there is a config.json of a model here."""
    return (path / CONFIG).is_file()


def read_config(path: Path) -> dict[str, Any]:
    """Returns the content of config.json.

    Raises:
      UserError: it is not a JSON object.
    """
    return read_json_object(path / CONFIG)


def weight_files(path: Path) -> list[Path]:
    """Returns the safetensors files of a directory.

    Raises:
      UserError: a shard is missing, or there are only files that can run code when loaded.
    """
    index = path / INDEX
    if index.is_file():
        try:
            content = json.loads(index.read_text(encoding="utf-8"))
            names = sorted(set(content["weight_map"].values()))
            outside = [name for name in names if Path(name).name != name]
        except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
            raise UserError(f"{index} is damaged: expected JSON with a weight_map") from None
        if outside or not names:
            raise UserError(
                f"{index} is damaged: expected names of files beside it, found "
                f"{outside[0] if outside else 'none'!r}"
            )
        missing = [name for name in names if not (path / name).is_file()]
        if missing:
            raise UserError(
                f"{path}: {len(missing)} of {len(names)} shards are missing, first {missing[0]!r} "
                f"(listed in {INDEX}); get them and try again"
            )
        return [path / name for name in names]
    files = sorted(path.glob("*.safetensors"))
    if files:
        return files
    pickled = sorted([*path.glob("*.bin"), *path.glob("*.pt"), *path.glob("*.pth")])
    if pickled:
        raise UserError(
            f"{path} has its weights in {pickled[0].name}, a pickle, which can run any code when "
            'it is loaded. Convert it where you trust it: python -c "from transformers import '
            f"AutoModel; AutoModel.from_pretrained('{path}').save_pretrained('DIR')\" writes "
            "safetensors"
        )
    raise UserError(f"{path} has a {CONFIG} but no *.safetensors file")


def open_arrays(files: list[Path]) -> dict[str, LazyArray]:
    """Returns the arrays of all shards by name.

    Raises:
      UserError: a file is damaged, or two hold the same name.
    """
    arrays: dict[str, LazyArray] = {}
    for file in files:
        for name, array in open_safetensors(file).items():
            if name in arrays:
                raise UserError(f"{file}: tensor {name!r} is also in another shard")
            arrays[name] = array
    return arrays


def write(
    directory: Path,
    config: Mapping[str, Any],
    arrays: Mapping[str, LazyArray],
    *,
    generation: Mapping[str, Any] | None = None,
    shard_bytes: int = SHARD_BYTES,
    written: Written,
) -> None:
    """Writes config.json and the weights, and generation_config.json where it is given.

    Args:
      directory: exists and is empty.
      config: content of config.json.
      arrays: by transformers' names, in the order to be written.
      generation: content of generation_config.json.
      shard_bytes: a file is closed before it gets larger.
      written: is told of every block.
    """
    for name, fields in ((CONFIG, config), (GENERATION_CONFIG, generation)):
        if fields is not None:
            text = json.dumps(fields, indent=2, sort_keys=True) + "\n"
            (directory / name).write_text(text, encoding="utf-8")
    divided = shards(arrays, shard_bytes)
    for file, names in zip(shard_names(len(divided)), divided):
        in_file = {name: arrays[name] for name in names}
        with SafetensorsWriter(directory / file, in_file) as writer:
            for name, array in in_file.items():
                copy_blocks(name, array, writer.write, written)
    if len(divided) > 1:
        (directory / INDEX).write_text(index_json(arrays, divided), encoding="utf-8")
