"""Reads and writes T5X's checkpoints: its native layout, and reads that of today's t5x.train.

Native (t5x.checkpoints.Checkpointer), in `checkpoint_STEP/`:
  checkpoint                      msgpack: {version, optimizer: {target, state}}; each leaf a small
                                  array, or a TensorStore specification with a path in this folder
  target.encoder.…kernel/         one zarr array a parameter
  state.param_states.…v/          one an optimizer slot of its parameter's shape

Today's (Orbax), in `checkpoint_STEP/`: `state/`, an item with the tree {target, state}, and
`dataset/`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from tlm_jax import trees
from tlm_jax.checkpoints.formats.blocks import CHUNK_BYTES, Written, copy_blocks
from tlm_jax.checkpoints.formats.orbax_item import is_item, open_item
from tlm_jax.checkpoints.formats.t5x_models import arranged_for_t5x, config_from_arrays
from tlm_jax.checkpoints.formats.tensorstore_arrays import (
    chunk_indices,
    create_array,
    open_arrays,
    row_chunks,
)
from tlm_jax.errors import UserError
from tlm_jax.lazy import LazyArray, Stored, in_memory
from tlm_jax.models.config import ModelConfig

_INDEX = "checkpoint"
_ITEM = "state"
_STEP_DIRECTORY = re.compile(r"checkpoint_(\d+)$")
_PLACEHOLDER = "PLACEHOLDER://"
_VERSION = 3
_TARGET, _STATE, _STEP = "target/", "state/", "state/step"


class OpenedT5x(NamedTuple):
    """A checkpoint of T5X.

    Attributes:
      arrays: parameters by T5X's names, '/'-joined, as they were saved.
      state: the optimizer's, by names such as "state/param_states/decoder/decoder_norm/scale/v".
      step: of training.
      files: what the parameters are read from.
    """

    arrays: dict[str, LazyArray]
    state: dict[str, LazyArray]
    step: int
    files: list[Path]


def is_t5x(path: Path) -> bool:
    """Returns whether `path` is `checkpoint_STEP`, its file `checkpoint`, or a folder of some."""
    return bool(_candidates(path))


def open_t5x(path: Path) -> OpenedT5x:
    """Opens a checkpoint; parameters are read later.

    Args:
      path: `MODEL_DIR` (the newest step is taken), `MODEL_DIR/checkpoint_STEP`, or the file
        `checkpoint` in it.

    Raises:
      UserError: there is none; it is of another program (a TensorFlow checkpoint, no parameters
        under `target`); its index is cut short, or names an array that is missing, cannot be read
        or has another shape than the index says; the step is not one number. Reading a parameter
        raises one if a chunk is missing or damaged.
    """
    found = _candidates(path)
    if not found:
        raise UserError(
            f"no T5X checkpoint at {path}: expected checkpoint_STEP with a file `checkpoint` or a "
            "folder `state`, or a folder with some of these"
        )
    directory = found[-1]
    if (directory / _INDEX).is_file():
        leaves, files = _indexed(directory)
    elif (directory / _ITEM / _INDEX).is_file():
        leaves, files = _indexed(directory / _ITEM)
    else:
        leaves = open_item(directory / _ITEM)
        files = [file for file in sorted((directory / _ITEM).rglob("*")) if file.is_file()]
    leaves = {name.removeprefix("optimizer/"): array for name, array in leaves.items()}
    arrays = {
        name.removeprefix(_TARGET): _without_uint16(array)
        for name, array in leaves.items()
        if name.startswith(_TARGET)
    }
    if not arrays:
        raise UserError(f"{directory} holds no parameters under 'target': it is not of T5X")
    found_step = leaves.get(_STEP)
    if found_step is not None and (found_step.shape or found_step.dtype.kind not in "iu"):
        raise UserError(
            f"{directory}: {_STEP} is {list(found_step.shape)} in {found_step.dtype}, expected one "
            "whole number; the checkpoint is damaged, get it again"
        )
    step = 0 if found_step is None else int(found_step.read())
    state = {name: x for name, x in leaves.items() if name.startswith(_STATE) and name != _STEP}
    return OpenedT5x(arrays, state, step, files)


def write_t5x(
    directory: Path,
    arrays: Mapping[str, LazyArray],
    config: ModelConfig,
    *,
    step: int = 0,
    state: Mapping[str, LazyArray] | None = None,
    written: Written = lambda num_bytes: None,
) -> None:
    """Writes a native checkpoint, which t5x.checkpoints.Checkpointer restores.

    Without `state` it restores for inference and, with `fallback_to_scratch=True`, for training.

    Args:
      directory: `checkpoint_STEP`, to be made.
      arrays: parameters by our names, layers unrolled and heads joined.
      config: the model; `scan_layers` chooses between scalable_t5's layout and t5's.
      step: of training.
      state: of the optimizer, named as in `OpenedT5x` and laid out as the parameters written.
      written: is told of every block.

    Raises:
      UserError: T5X has no such model, or a parameter is not finite.
    """
    target = arranged_for_t5x(arrays, config)
    directory.mkdir(parents=True)
    leaves: dict[str, Any] = {_STEP: np.asarray(step, np.int32)}
    for name, array in (state or {}).items():
        parameter = target.get(name.removeprefix("state/param_states/").rpartition("/")[0])
        if parameter is not None and parameter.shape == array.shape:
            leaves[name] = _write_array(directory, name, array, written)
        else:
            leaves[name] = array.read()
            written(array.nbytes)
    for name, array in target.items():
        leaves[_TARGET + name] = _write_array(directory, _TARGET + name, array, written)
    from flax import serialization

    content = {"version": _VERSION, "optimizer": trees.unflatten(dict(sorted(leaves.items())))}
    (directory / _INDEX).write_bytes(serialization.msgpack_serialize(content, in_place=True))


def _write_array(directory: Path, name: str, array: LazyArray, written: Written) -> dict[str, Any]:
    """Writes one zarr array, and returns its specification as the index has it."""
    stored = name.replace("/", ".")
    chunks = _chunks(array.shape, array.dtype)
    writer = create_array(directory / stored, array.shape, array.dtype, chunks, compression="gzip")
    copy_blocks(
        name,
        array,
        lambda _, index, block: writer.write(index, block),
        written,
        chunk_indices(array.shape, chunks),
    )
    return {
        "driver": "zarr",
        "dtype": array.dtype.name,
        "kvstore": {"driver": "file", "path": f"{stored}/"},
        "metadata": {
            "chunks": list(chunks),
            "compressor": {"id": "gzip", "level": 1},
            "shape": list(array.shape),
        },
    }


def _chunks(shape: Sequence[int], dtype: np.dtype) -> list[int]:
    """Returns the shape of a chunk: all of a small array, runs of rows of a layer of a large one.

    Only stacked kernels have three axes and more, and their layers are at axis 1.
    """
    whole = row_chunks(shape, dtype, CHUNK_BYTES)
    if len(shape) < 3 or whole == list(shape):
        return whole
    layer = row_chunks([shape[0], *shape[2:]], dtype, CHUNK_BYTES)
    return [layer[0], 1, *layer[1:]]


def _candidates(path: Path) -> list[Path]:
    """Returns the checkpoints that `path` names, oldest first."""
    if path.name == _INDEX and path.is_file():
        path = path.parent
    if _is_checkpoint(path):
        return [path]
    if not path.is_dir():
        return []
    found = [
        (int(match[1]), child)
        for child in path.iterdir()
        if (match := _STEP_DIRECTORY.match(child.name)) and _is_checkpoint(child)
    ]
    return [child for _, child in sorted(found)]


def _is_checkpoint(directory: Path) -> bool:
    item = directory / _ITEM
    return is_item(item) or any((path / _INDEX).is_file() for path in (directory, item))


def _indexed(directory: Path) -> tuple[dict[str, LazyArray], list[Path]]:
    """Returns the arrays of a folder whose msgpack file says where they are."""
    leaves = dict(_leaves(_read_index(directory / _INDEX), ""))
    arrays: dict[str, LazyArray] = {}
    stored: dict[str, Path] = {}
    for name, leaf in leaves.items():
        where = _stored_name(leaf)
        if where is not None:
            stored[name] = directory / where
        elif isinstance(leaf, (np.ndarray, np.generic, int, float)):
            arrays[name] = in_memory(np.asarray(leaf))
    arrays |= open_arrays(stored)
    for name, leaf in leaves.items():
        if isinstance(leaf, dict) and list(arrays[name].shape) != _spec_shape(leaf):
            raise UserError(
                f"{stored[name]} has shape {list(arrays[name].shape)}, but the index in "
                f"{directory / _INDEX} gives {_spec_shape(leaf)}; files of two checkpoints are "
                "mixed, get it again"
            )
    files = [directory / _INDEX]
    for name, path in stored.items():
        if "target" in name.split("/")[:2]:
            files += [file for file in sorted(path.iterdir()) if file.is_file()]
    return arrays, files


def _read_index(path: Path) -> dict[str, Any]:
    from flax import serialization

    content = path.read_bytes()
    if content.startswith(b"model_checkpoint_path"):
        raise UserError(
            f"{path} is of a TensorFlow checkpoint (T5 on Mesh TensorFlow); expected one of T5X: "
            "convert it with T5X's convert_tf_checkpoint, or get the Hugging Face model"
        )
    try:
        tree = serialization.msgpack_restore(content)
    except Exception as error:  # msgpack has many kinds, without a common base.
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"{path} is no index of a T5X checkpoint ({reason}); it is cut short or of another "
            "program, get it again"
        ) from None
    if not isinstance(tree, dict):
        raise UserError(f"{path} is no index of a T5X checkpoint: it holds no dictionary")
    return tree.get("optimizer", tree)


def _leaves(tree: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    if isinstance(tree, dict) and "driver" not in tree:
        for key, child in tree.items():
            yield from _leaves(child, f"{prefix}/{key}" if prefix else str(key))
    else:
        yield prefix, tree


def _stored_name(leaf: Any) -> str | None:
    """Returns the folder of an array that is not in the index itself.

    The path is relative to the checkpoint, at one of two places depending on TensorStore's version;
    the driver may be that of another file system, where the checkpoint was written.
    """
    if isinstance(leaf, str) and leaf.startswith(_PLACEHOLDER):
        return leaf.removeprefix(_PLACEHOLDER)
    if isinstance(leaf, dict):
        store = leaf.get("kvstore")
        path = (store.get("path") if isinstance(store, dict) else None) or leaf.get("path")
        return Path(str(path or "")).name
    return None


def _spec_shape(spec: Mapping[str, Any]) -> list[int]:
    metadata = spec.get("metadata")
    shape = metadata.get("shape") if isinstance(metadata, dict) else None
    return list(shape) if isinstance(shape, (list, tuple)) else []


def _without_uint16(array: LazyArray) -> LazyArray:
    """Returns bfloat16 parameters as such, which T5X stored as uint16 before its version 3."""
    if array.dtype != np.uint16:
        return array
    return Stored(
        array.shape,
        np.dtype(ml_dtypes.bfloat16),
        lambda index: array[index].view(ml_dtypes.bfloat16),
    )


__all__ = ["OpenedT5x", "config_from_arrays", "is_t5x", "open_t5x", "write_t5x"]
