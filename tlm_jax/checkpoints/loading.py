"""Loads parameters of any format straight to where a mesh wants them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from tlm_jax import models, trees
from tlm_jax.checkpoints.families import model_differences
from tlm_jax.checkpoints.formats.blocks import check_finite
from tlm_jax.checkpoints.pretrained import Pretrained
from tlm_jax.errors import UserError, nearest
from tlm_jax.lazy import Index, LazyArray, Stored, cast
from tlm_jax.models import layouts
from tlm_jax.models.config import ModelConfig
from tlm_jax.types import Params

_OF_VOCABULARY = {"token_embedder/embedding": 0, "logits_dense/kernel": 1, "logits_dense/bias": 0}
"""Parameters with an entry for every token, and the axis along which."""


def load_params(
    source: Pretrained,
    config: ModelConfig,
    abstract: Params | None = None,
    *,
    resize_vocabulary: bool = False,
    convert: Callable[[str, Any], Any] = lambda name, array: array,
    announce: Callable[[str], None] = print,
) -> Params:
    """Returns the parameters of a model, in the layout and types that are wanted.

    Each device of a mesh reads its own part of the files, so no host holds the whole model.

    Args:
      source: from `open_pretrained`.
      config: the model that is wanted; layers scanned or not, whatever the source has.
      abstract: its parameters as arrays or `ShapeDtypeStruct`s; leaves with a sharding come back
        so sharded, the others as NumPy arrays. None: float32 NumPy arrays.
      resize_vocabulary: whether a source with another number of rows for tokens is cut, or
        extended by rows that are the mean of its own (so that no new token is likelier than an
        average one).
      convert: `convert(name, array)` replaces a parameter as soon as it is there, before the next
        one is read: a model that only fits in fewer bits never exists in more.
      announce: is given a line for each choice of the model that differs from the source without
        changing a shape.

    Raises:
      UserError: the model is not the source's; the first parameter that differs is named.
    """
    wanted = trees.flatten(models.abstract_params(config) if abstract is None else abstract)
    arrays = layouts.arrange(source.arrays, config)
    where = f"{source.path} ({source.source_format})"
    if resize_vocabulary:
        arrays = {name: _resized(name, array, wanted, announce) for name, array in arrays.items()}
    _check_same(arrays, wanted, where, source.config.vocab_size, config.vocab_size)
    for difference in model_differences(source.config, config):
        announce(f"note: {where} and the model of this run differ in {difference}")
    return trees.unflatten(
        {name: convert(name, load_array(name, arrays[name], leaf)) for name, leaf in wanted.items()}
    )


def with_run_choices(config: ModelConfig, **choices: Any) -> ModelConfig:
    """Returns a model read from a checkpoint with some choices of how to run it.

    Raises:
      UserError: the model has no such field.
    """
    known = {field.name for field in dataclasses.fields(config)}
    for name in choices:
        if name not in known:
            raise UserError(f"{type(config).__name__} has no field {name!r}.{nearest(name, known)}")
    return dataclasses.replace(config, **choices)


def load_array(name: str, array: LazyArray, leaf: Any) -> Any:
    """Reads an array in the type of `leaf` and where its sharding wants it, if it has one.

    Raises:
      UserError: a value is not finite.
    """
    array = cast(array, leaf.dtype)

    def read(index: tuple[slice, ...] | None) -> np.ndarray:
        part = array[index or ()]
        check_finite(name, part)
        return part

    sharding = getattr(leaf, "sharding", None)
    if sharding is None:
        return read(())
    return jax.make_array_from_callback(array.shape, sharding, read)


def _check_same(
    arrays: Mapping[str, LazyArray],
    wanted: Mapping[str, Any],
    where: str,
    source_vocabulary: int,
    vocabulary: int,
) -> None:
    remedy = "Choose the model that it was trained with."
    for name in sorted(wanted.keys() | arrays.keys()):
        if name not in arrays:
            raise UserError(
                f"{where} is of a different model: it has no {name!r}, which this model "
                f"needs.{nearest(name, arrays.keys() - wanted.keys())} {remedy}"
            )
        if name not in wanted:
            raise UserError(
                f"{where} is of a different model: it has {name!r}, which this model has not. "
                f"{remedy}"
            )
        ours, theirs = tuple(wanted[name].shape), arrays[name].shape
        if ours == theirs:
            continue
        if _vocabulary_axis(name) is not None and source_vocabulary != vocabulary:
            raise UserError(
                f"{where} has {source_vocabulary:,} rows for tokens, this model {vocabulary:,} "
                f"({name!r}). Set VOCAB_SIZE to {source_vocabulary}, or "
                "RESIZE_VOCABULARY=True to cut or extend the rows"
            )
        raise UserError(
            f"{where} is of a different model: {name!r} has shape {list(theirs)} there and "
            f"{list(ours)} in this model. {remedy}"
        )


def _vocabulary_axis(name: str) -> int | None:
    return next((axis for end, axis in _OF_VOCABULARY.items() if name.endswith(end)), None)


def _resized(
    name: str, array: LazyArray, wanted: Mapping[str, Any], announce: Callable[[str], None]
) -> LazyArray:
    """Returns the array with as many entries for tokens as are wanted."""
    axis = _vocabulary_axis(name)
    if axis is None or name not in wanted or wanted[name].shape[axis] == array.shape[axis]:
        return array
    rows, given = wanted[name].shape[axis], array.shape[axis]
    verb = "cut" if rows < given else "extended by mean rows"
    announce(f"note: {name} has {given:,} entries for tokens, {verb} to {rows:,}")
    shape = (*array.shape[:axis], rows, *array.shape[axis + 1 :])
    mean: list[np.ndarray] = []

    def read(index: Index) -> np.ndarray:
        part = index[axis]
        known = slice(part.start, max(part.start, min(part.stop, given)))
        found = array[(*index[:axis], known, *index[axis + 1 :])]
        missing = part.stop - max(part.start, given)
        if missing <= 0:
            return found
        if not mean:
            mean.append(array.read().astype(np.float32).mean(axis, keepdims=True))
        whole = (slice(None),)
        added = mean[0].astype(array.dtype)[(*index[:axis], *whole, *index[axis + 1 :])]
        return np.concatenate([found, np.repeat(added, missing, axis)], axis)

    return Stored(shape, array.dtype, read)
