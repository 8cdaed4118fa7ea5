"""Converts a model from any format that can be opened to one that can be written.

Parameters pass through in blocks, so that memory does not grow with the model. The destination
appears by one rename when everything is on disk, and not at all if anything fails.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tlm_jax import models
from tlm_jax.checkpoints import families, token_ids
from tlm_jax.checkpoints.conversion_report import write_report
from tlm_jax.checkpoints.formats import hugging_face, native, t5x
from tlm_jax.checkpoints.formats.blocks import Written
from tlm_jax.checkpoints.pretrained import Pretrained
from tlm_jax.checkpoints.slot_layouts import joined_heads, t5x_slots
from tlm_jax.checkpoints.unfinished import unfinished_directory
from tlm_jax.errors import UserError, nearest
from tlm_jax.lazy import LazyArray, cast
from tlm_jax.losses.reduction import NONE
from tlm_jax.models import layouts
from tlm_jax.system import git_lfs
from tlm_jax.vocabularies import vocabulary_from_name

TARGETS = ("native", "hf", "t5x")

Done = tuple[str, tuple[str, ...]]
"""What a format has written, in its words, and notes for people."""


@dataclasses.dataclass(frozen=True)
class Conversion:
    """What was done.

    Attributes:
      num_params: parameters of the model.
      num_bytes: bytes of parameters written.
      architecture: what was written, in the words of the format.
      notes: lines for people on what the model does not say of itself.
    """

    num_params: int
    num_bytes: int
    architecture: str
    notes: tuple[str, ...] = ()


def convert(
    source: Pretrained,
    destination: Path,
    to: str,
    *,
    dtype: np.dtype | None = None,
    shard_bytes: int = hugging_face.SHARD_BYTES,
    scan_layers: bool | None = None,
    written: Callable[[int, int], None] = lambda done, total: None,
) -> Conversion:
    """Writes a model in another format.

    Args:
      source: the model.
      destination: a directory to make.
      to: a name in `TARGETS`.
      dtype: of the parameters written; None keeps each as it is.
      shard_bytes: of a safetensors file at most.
      scan_layers: whether native and T5X parameters are stacked over layers; None means native
        ones are; T5X's as its model wants it that fits.
      written: is told of bytes written so far and in all.

    Returns:
      A summary. `conversion.json` in the destination has it too, with size and CRC-32 of every
      file read and written.

    Raises:
      UserError: the destination exists or cannot be written, another conversion is writing it, the
        disk is full, a parameter holds NaN, or no architecture of the target fits. The destination
        is then as it was.
    """
    if to not in TARGETS:
        raise UserError(
            f"unknown target {to!r}; expected one of {', '.join(TARGETS)}.{nearest(to, TARGETS)}"
        )
    if os.path.lexists(destination):
        raise UserError(f"{destination} exists already; name a directory that does not")
    # Before hours of writing: one of them may be no file at all.
    companions = _read_companions(source.companions)
    with unfinished_directory(destination) as unfinished:
        arrays = _in_type(source.arrays, dtype)
        total = sum(array.nbytes for array in arrays.values())
        writers = {"native": _write_native, "hf": _write_hugging_face, "t5x": _write_t5x}
        architecture, notes = writers[to](
            source, arrays, unfinished, shard_bytes, scan_layers, _counter(written, total)
        )
        for name, content in companions.items():
            if not (unfinished / name).exists():
                (unfinished / name).write_bytes(content)
        notes = (*notes, *_tokens_without_rows(source, unfinished))
        count = sum(int(np.prod(array.shape)) for array in arrays.values())
        result = Conversion(count, total, architecture, notes)
        write_report(
            source,
            unfinished,
            to=to,
            architecture=architecture,
            num_params=count,
            num_bytes=total,
        )
    return result


def _tokens_without_rows(source: Pretrained, directory: Path) -> tuple[str, ...]:
    """Returns a note where the tokenizer beside the model has ids that its embedding lacks."""
    if "tokenizer.json" not in source.companions:
        return ()
    try:
        size = vocabulary_from_name(str(directory)).size
    except UserError:
        return ()  # who reads texts with it will be told
    rows = source.config.vocab_size
    if size <= rows:
        return ()
    return (
        f"the tokenizer has {size:,} ids, but the model's embedding only {rows:,} rows: it cannot "
        "be run with this tokenizer. Get the one of its training, or train from here with "
        "RESIZE_VOCABULARY=True",
    )


def _write_native(
    source: Pretrained,
    arrays: Mapping[str, LazyArray],
    directory: Path,
    shard_bytes: int,
    scan_layers: bool | None,
    written: Written,
) -> Done:
    del shard_bytes
    config = dataclasses.replace(source.config, scan_layers=scan_layers is not False)
    arranged = layouts.arrange(arrays, config)
    native.write(directory, config, arranged, source.hugging_face, written=written)
    return type(config).__name__, ()


def _write_hugging_face(
    source: Pretrained,
    arrays: Mapping[str, LazyArray],
    directory: Path,
    shard_bytes: int,
    scan_layers: bool | None,
    written: Written,
) -> Done:
    del scan_layers
    config = dataclasses.replace(source.config, relpos_per_layer=False)
    family, fields = hugging_face_description(source, config)
    # One bias for all layers, where T5X's scalable_t5 has copies of it.
    try:
        flat = layouts.arrange(arrays, dataclasses.replace(config, scan_layers=False))
    except UserError as error:
        raise UserError(f"{error} transformers' T5 has one for all layers, too.") from None
    hf_tensors = families.export_tensors(family, config, flat)
    dtypes = {str(array.dtype) for array in hf_tensors.values()}
    fields["torch_dtype"] = max(dtypes, key=lambda name: np.dtype(name).itemsize)
    if "dtype" in fields:
        fields["dtype"] = fields["torch_dtype"]
    described = token_ids.describe(source, fields)
    hugging_face.write(
        directory,
        described.config,
        hf_tensors,
        generation=described.generation,
        shard_bytes=shard_bytes,
        written=written,
    )
    return family.architecture, described.notes


def hugging_face_description(
    source: Pretrained, config: models.ModelConfig
) -> tuple[families.Family, dict[str, Any]]:
    """Returns the family and config.json of a model.

    What it came with is kept as long as it still describes the model, with whatever else it says
    (special tokens, the length it was trained for).
    """
    families.refuse_prefix_lm(config)
    known = source.hugging_face
    if known is not None:
        family = families.family_of(known, str(source.path))
        fields = dict(known)
        if families.same_model(family.read_config(fields), config):
            return family, fields
        fields |= family.write_config(config)
        if families.fits(family, config) and families.same_model(
            family.read_config(fields), config
        ):
            return family, fields
    family = families.family_for(config)
    return family, {
        "model_type": family.model_type,
        "architectures": [family.architecture],
        **family.write_config(config),
    }


def _write_t5x(
    source: Pretrained,
    arrays: Mapping[str, LazyArray],
    directory: Path,
    shard_bytes: int,
    scan_layers: bool | None,
    written: Written,
) -> Done:
    """Writes a native T5X checkpoint, with Adafactor's slots if the source has them."""
    del shard_bytes
    config = source.config
    if scan_layers is not None:
        config = dataclasses.replace(config, scan_layers=scan_layers)
    elif source.source_format != "t5x":
        # T5X's models have a bias for every layer where layers are stacked, and only there.
        config = dataclasses.replace(config, scan_layers=config.relpos_per_layer)
    state = source.optimizer
    if source.source_format != "t5x" or config != source.config:
        state = t5x_slots(joined_heads(state), source.config, config)
    checkpoint = directory / f"checkpoint_{source.step}"
    t5x.write_t5x(checkpoint, arrays, config, step=source.step, state=state, written=written)
    return "T5X", _notes_on_optimizer(source)


def _notes_on_optimizer(source: Pretrained) -> tuple[str, ...]:
    """Returns what T5X has to be told of the optimizer's state that it gets, if there is one."""
    if not source.optimizer:
        return ()
    note = f"with Adafactor's state of step {source.step}"
    if source.loss_normalization is not None:
        normalization = source.loss_normalization
        value = "None" if normalization == NONE else repr(normalization)
        note += f": go on in T5X with LOSS_NORMALIZING_FACTOR = {value}, as it was made"
    return (note,)


def _in_type(arrays: Mapping[str, LazyArray], dtype: np.dtype | None) -> dict[str, LazyArray]:
    if dtype is None:
        return dict(arrays)
    return {name: cast(array, dtype) for name, array in arrays.items()}


def _counter(written: Callable[[int, int], None], total: int) -> Written:
    done = 0

    def count(num_bytes: int) -> None:
        nonlocal done
        done += num_bytes
        written(done, total)

    return count


def _read_companions(companions: Mapping[str, Path | bytes]) -> dict[str, bytes]:
    """Returns the contents of the small files beside the parameters."""
    found = {}
    for name, content in companions.items():
        data = content.read_bytes() if isinstance(content, Path) else content
        git_lfs.refuse_pointer(data, str(content) if isinstance(content, Path) else name)
        found[name] = data
    return found
