"""Loads parameters of any format straight to where a mesh wants them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from tlm_jax import models, trees
from tlm_jax.checkpoints import vocabulary_rows
from tlm_jax.checkpoints.families import model_differences
from tlm_jax.checkpoints.formats.blocks import check_finite
from tlm_jax.checkpoints.pretrained import Pretrained
from tlm_jax.checkpoints.structure import check_same
from tlm_jax.errors import UserError, nearest
from tlm_jax.lazy import LazyArray, cast
from tlm_jax.models import layouts
from tlm_jax.models.config import ModelConfig
from tlm_jax.types import Params


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
    rows = source.config.vocab_size
    if resize_vocabulary:
        rows = config.vocab_size
        arrays = vocabulary_rows.resized(arrays, rows, announce)
    _check_same(arrays, wanted, where, rows, config.vocab_size)
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
    source_rows: int,
    rows: int,
) -> None:
    """Checks parameters against those wanted; another number of tokens is said as such."""
    per_token: set[str] = set()
    if source_rows != rows:
        per_token = {name for name in arrays if vocabulary_rows.axis_of(name) is not None}
    check_same(
        {name: array for name, array in arrays.items() if name not in per_token},
        {name: leaf for name, leaf in wanted.items() if name not in per_token},
        where=where,
        remedy="Choose the model that it was trained with.",
    )
    if per_token:
        raise UserError(
            f"{where} has {source_rows:,} rows for tokens, this model {rows:,} "
            f"({min(per_token)!r}). Set VOCAB_SIZE to {source_rows}, or RESIZE_VOCABULARY=True to "
            "cut or extend the rows"
        )
