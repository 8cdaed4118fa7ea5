"""Directories as Hugging Face's transformers reads and writes them."""

from __future__ import annotations

import json
import os
import re
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
from tlm_jax.system import git_lfs
from tlm_jax.system.text_files import json_object, read_json_object

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
    "chat_template.json",
    GENERATION_CONFIG,
)
SHARD_BYTES = 5_000_000_000
_OTHERS = re.compile(r"adapter_model\b|consolidated\b|optimizer\b|training_args\b")
"""Files beside a model's that are not its weights, or not under transformers' names."""
_SHARD = re.compile(r"(?P<name>.+)-(?P<number>\d{5,})-of-(?P<count>\d{5,})\.safetensors")


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
    """Returns the safetensors files of the model in a directory.

    As transformers: `model.safetensors`, whatever else lies beside it (adapters, another
    publisher's copy, the same in fewer bits, an index of earlier shards); else what the index
    lists. Where there is neither, numbered shards, or the only file.

    Raises:
      UserError: a shard is missing, which files are the model's cannot be told, or there are only
        files that can run code when loaded.
    """
    if os.path.lexists(path / WEIGHTS):
        return [path / WEIGHTS]
    index = path / INDEX
    if index.is_file():
        names = _indexed(index)
        missing = [name for name in names if not (path / name).is_file()]
        if missing:
            raise UserError(
                f"{path}: {len(missing)} of {len(names)} shards are missing, first {missing[0]!r} "
                f"(listed in {INDEX}); get them and try again"
            )
        return [path / name for name in names]
    found = sorted(path.glob("*.safetensors"))
    files = [file for file in found if not _OTHERS.match(file.name)]
    shards_found = [file for file in files if _SHARD.fullmatch(file.name)]
    if shards_found:
        _check_numbers(path, shards_found)
        return shards_found
    if len(files) == 1:
        return files
    if files:
        raise UserError(
            f"{path} has {len(files)} safetensors files and neither {WEIGHTS} nor {INDEX}, so "
            f"which are the model's cannot be told: {', '.join(file.name for file in files)}; "
            f"name the right one {WEIGHTS}"
        )
    if found:
        raise UserError(
            f"{path} has {found[0].name}, but no {WEIGHTS}: adapters are no model, and "
            "consolidated files have their publisher's own names; get the files that transformers "
            "reads"
        )
    pickled = sorted([*path.glob("*.bin"), *path.glob("*.pt"), *path.glob("*.pth")])
    if pickled:
        raise UserError(
            f"{path} has its weights in {pickled[0].name}, a pickle, which can run any code when "
            'it is loaded. Convert it where you trust it: python -c "from transformers import '
            f"AutoModel; AutoModel.from_pretrained('{path}').save_pretrained('DIR')\" writes "
            "safetensors"
        )
    raise UserError(f"{path} has a {CONFIG} but no *.safetensors file")


def _indexed(index: Path) -> list[str]:
    """Returns the files that an index lists, all beside it."""
    content = index.read_bytes()
    git_lfs.refuse_pointer(content, str(index))
    try:
        names = sorted(set(json.loads(content.decode("utf-8"))["weight_map"].values()))
        outside = [name for name in names if Path(name).name != name]
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
        raise UserError(f"{index} is damaged: expected JSON with a weight_map") from None
    if outside or not names:
        raise UserError(
            f"{index} is damaged: expected names of files beside it, found "
            f"{outside[0] if outside else 'none'!r}"
        )
    return names


def _check_numbers(path: Path, files: list[Path]) -> None:
    """Checks that numbered shards without an index are all of one model's."""
    named = [_SHARD.fullmatch(file.name) for file in files]
    models = {(match["name"], int(match["count"])) for match in named if match}
    name, count = sorted(models)[0]
    if len(models) > 1:
        raise UserError(
            f"{path} has the shards of several models and no {INDEX}: {files[0].name} ... "
            f"{files[-1].name}; move one away"
        )
    there = {int(match["number"]) for match in named if match}
    missing = sorted(set(range(1, count + 1)) - there)
    if missing:
        raise UserError(
            f"{path}: {len(missing)} of {count} shards are missing, first "
            f"'{name}-{missing[0]:05d}-of-{count:05d}.safetensors'; get them and try again"
        )


def quantised_by(path: Path, config: Mapping[str, Any]) -> str | None:
    """Returns what a model says of its weights having been packed into fewer bits, if it does."""
    names = ("quantization_config", "compression_config", "quantization")
    found = next((config[name] for name in names if config.get(name)), None)
    file = CONFIG
    for name in ("quantize_config.json", "quant_config.json"):
        if found is None and (path / name).is_file():
            found, file = json_object((path / name).read_bytes(), str(path / name)), name
    if not isinstance(found, Mapping):
        return None
    method = found.get("quant_method") or found.get("format") or "an unnamed method"
    bits = found.get("bits") or found.get("w_bit") or (4 if found.get("load_in_4bit") else None)
    return f"{method}{f', {bits} bits' if bits else ''}, by {file}"


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
