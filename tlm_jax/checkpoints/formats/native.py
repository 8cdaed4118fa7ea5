"""Our own form: a MODEL_DIR with model.json and checkpoints, written part by part when converting.

DIRECTORY/
  model.json          the model's configuration, and config.json of where it came from
  vocabulary.json     which vocabulary training used, by its fingerprint
  checkpoints/0/      a checkpoint as training writes them, with parameters only
  tokenizer.json ...  whatever lay beside the source
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tlm_jax.checkpoints import manifest
from tlm_jax.checkpoints.choice import (
    check_files,
    named_steps,
    newest_whole,
    print_line,
    read_manifest,
)
from tlm_jax.checkpoints.formats.blocks import CHUNK_BYTES, Written, copy_blocks
from tlm_jax.checkpoints.formats.orbax_item import open_item
from tlm_jax.checkpoints.formats.tensorstore_arrays import chunk_indices, create_array
from tlm_jax.checkpoints.manifest import ArraySpec
from tlm_jax.checkpoints.orbax_files import STATE
from tlm_jax.checkpoints.processes import gather, is_primary
from tlm_jax.checkpoints.structure import AUXILIARY, PARAMETERS
from tlm_jax.errors import UserError
from tlm_jax.lazy import LazyArray
from tlm_jax.models.config import ModelConfig
from tlm_jax.models.config_json import config_from_json, config_to_json

MODEL_FILE = "model.json"
VOCABULARY_FILE = "vocabulary.json"
_FORMAT = 1
_SLOT = re.compile(r"opt_state/(?:.*/)?slots/(.+)$")


class OpenedNative(NamedTuple):
    """A checkpoint of ours; the arrays are in the layout that they were saved in.

    Where `base` is not None, they are adapters: fields of their `BaseModel`. `checksums` are of
    `files`, sizes included, where the manifest has them. `slots` are those of
    Adafactor, by names such as "decoder/decoder_norm/scale/v"; other optimizers are not read.
    """

    model_dir: Path
    config: ModelConfig
    arrays: dict[str, LazyArray]
    files: list[Path]
    checksums: Mapping[Path, str]
    hugging_face: Mapping[str, Any] | None
    base: Mapping[str, Any] | None
    slots: dict[str, LazyArray]
    step: int
    loss_normalization: str | float | None


def is_native(path: Path) -> bool:
    """Returns whether `path` is a MODEL_DIR, its `checkpoints`, or one `checkpoints/STEP`."""
    return (
        (path / MODEL_FILE).is_file()
        or (path / manifest.FILE_NAME).is_file()
        or bool(named_steps(path)[1])
    )


def open_native(path: Path) -> OpenedNative:
    """Opens the newest whole checkpoint, or the one named; tells of damaged ones passed over.

    Raises:
      UserError: there is none, all are damaged, or model.json is missing.
    """
    directory, steps = named_steps(path)
    # What one process sees of a shared file system a moment later may not be what another saw.
    steps = gather(steps)[0]
    if not steps:
        raise UserError(f"{path} holds no checkpoint")
    model_dir = directory.parent if directory.name == "checkpoints" else directory
    described = read_model_file(model_dir)
    chosen = newest_whole(directory, steps, _open_checkpoint)
    for step, problem in chosen.problems.items():
        if is_primary():
            print_line(
                f"checkpoint {step} of {model_dir} is damaged: {problem}; using checkpoint "
                f"{chosen.step}"
            )
    arrays, slots, sealed = chosen.value
    checkpoint = directory / str(chosen.step)
    files = {checkpoint / name: spec for name, spec in sorted(sealed.files.items())}
    return OpenedNative(
        model_dir,
        described[0],
        arrays,
        list(files),
        {
            file: f"{spec.size_bytes} bytes, CRC-32 {spec.crc32:08x}"
            for file, spec in files.items()
            if spec.crc32 is not None
        },
        described[1],
        sealed.base,
        slots,
        sealed.step,
        sealed.loss_normalization,
    )


def read_model_file(model_dir: Path) -> tuple[ModelConfig, Mapping[str, Any] | None]:
    """Returns the configuration in model.json, and config.json of where the model came from.

    Raises:
      UserError: the file is missing; or it is damaged: no JSON, of another format than this
        version writes, without a model, with a field of the model that is unknown, missing or of
        another type, or with something that is no object in `hugging_face`.
    """
    file = model_dir / MODEL_FILE
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        origin = content.get("hugging_face")
        if content.get("format") != _FORMAT or not isinstance(origin, dict | None):
            raise ValueError(f"expected format {_FORMAT}, and in hugging_face an object or nothing")
        return config_from_json(content["model"]), origin
    except FileNotFoundError:
        raise UserError(
            f"{file} is missing, which says what model the checkpoint is of; a run made before it "
            "was written gets one when it is continued"
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{file} is damaged: {error}") from None


def model_file_text(config: ModelConfig, hugging_face: Mapping[str, Any] | None = None) -> str:
    """Returns the content of model.json."""
    content: dict[str, Any] = {"format": _FORMAT, "model": config_to_json(config)}
    if hugging_face is not None:
        content["hugging_face"] = dict(hugging_face)
    return json.dumps(content, indent=1) + "\n"


def write(
    directory: Path,
    config: ModelConfig,
    arrays: Mapping[str, LazyArray],
    hugging_face: Mapping[str, Any] | None,
    *,
    written: Written,
) -> None:
    """Writes model.json and checkpoint 0, in the directory layout that Orbax reads.

    Args:
      directory: exists and is empty.
      config: the model.
      arrays: its parameters, in its layout.
      hugging_face: config.json of where they came from.
      written: is told of every block.
    """
    text = model_file_text(config, hugging_face)
    (directory / MODEL_FILE).write_text(text, encoding="utf-8")
    checkpoint = directory / "checkpoints" / "0"
    state = checkpoint / STATE
    state.mkdir(parents=True)
    for name, array in arrays.items():
        chunks = _chunks(array)
        path = state / ".".join([PARAMETERS, *name.split("/")])
        create = create_array(path, array.shape, array.dtype, chunks)
        copy_blocks(
            name,
            array,
            lambda _, index, block, writer=create: writer.write(index, block),
            written,
            chunk_indices(array.shape, chunks),
        )
    (state / "_METADATA").write_text(json.dumps(_orbax_metadata(arrays)), encoding="utf-8")
    specs = {
        f"{PARAMETERS}/{name}": ArraySpec(tuple(array.shape), str(array.dtype))
        for name, array in arrays.items()
    }
    manifest.seal(checkpoint, 0, specs, score=None, checksums=True)


def _open_checkpoint(
    path: Path,
) -> tuple[dict[str, LazyArray], dict[str, LazyArray], manifest.Manifest]:
    found = read_manifest(path)
    check_files(path, found, contents=True)
    prefix = PARAMETERS + "/"
    items = open_item(path / STATE)
    arrays = {
        name.removeprefix(prefix): array
        for name, array in items.items()
        if name.startswith(prefix) and not name.startswith(f"{prefix}{AUXILIARY}/")
    }
    slots = {
        match[1]: array
        for name, array in items.items()
        if (match := _SLOT.match(name)) and not match[1].startswith(f"{AUXILIARY}/")
    }
    return arrays, slots, found


def _chunks(array: LazyArray) -> tuple[int, ...]:
    """Returns the shape of a stored chunk: one layer of a stack, and at most CHUNK_BYTES."""
    chunks = list(array.shape)
    if len(chunks) == 3:
        chunks[1] = 1
    size = array.dtype.itemsize
    for length in chunks:
        size *= length
    if size > CHUNK_BYTES and chunks:
        # The last axis is the first of their transposed kernels, and so read in one run.
        axis = len(chunks) - 1 if len(chunks) == 3 or array.shape[-1] >= array.shape[0] else 0
        chunks[axis] = max(1, chunks[axis] * CHUNK_BYTES // size)
    return tuple(chunks)


def _orbax_metadata(arrays: Mapping[str, LazyArray]) -> dict[str, Any]:
    """Returns what Orbax needs to know of a directory of zarr arrays (its `_METADATA`)."""
    tree = {}
    for name in arrays:
        keys = (PARAMETERS, *name.split("/"))
        tree[str(keys)] = {
            "key_metadata": [{"key": key, "key_type": 2} for key in keys],
            # Not a jax.Array: that kind wants a sharding even where there is one device.
            "value_metadata": {"value_type": "np.ndarray", "skip_deserialize": False},
        }
    return {
        "tree_metadata": tree,
        "use_ocdbt": False,
        "use_zarr3": False,
        "store_array_data_equal_to_fill_value": True,
        "custom_metadata": None,
    }
