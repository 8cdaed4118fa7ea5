"""The form in which a family says how its names are ours, and the two directions it serves.

A family is a table from our module names to theirs, and two functions for the configuration. What
happens to each array follows from its last name: our `kernel` [in, out] is their `weight`
[out, in], our `scale` and `embedding` are a `weight` as it is, a `bias` a `bias`.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np

from tlm_jax import models, trees
from tlm_jax.checkpoints.families import stored_names
from tlm_jax.errors import UserError, nearest
from tlm_jax.lazy import LazyArray, gathered, selected, transposed

Arrays = Mapping[str, LazyArray]
_TRANSPOSED = ("kernel", "rel_embedding")
_THEIR_LEAF = {"kernel": "weight", "scale": "weight", "embedding": "weight", "bias": "bias"}


@dataclasses.dataclass(frozen=True)
class Fused:
    """A module of theirs that holds several of ours.

    Attributes:
      name: theirs.
      parts: ours, in order, beside each other.
      per_head: whether the parts alternate head by head (BLOOM, GPT-NeoX) and are not one after
        the other (GPT-2).
    """

    name: str
    parts: tuple[str, ...] = ("query", "key", "value")
    per_head: bool = False


Table = Mapping[str, str | Fused]
"""Our module's name to theirs, `{i}` for the layer; a `Fused` is listed under the module above."""


@dataclasses.dataclass(frozen=True)
class Family:
    """One architecture of Hugging Face's transformers.

    Attributes:
      model_type: as in config.json.
      architecture: the class name that `architectures` of config.json has.
      table: the names.
      read_config: from the fields of config.json to our configuration; raises UserError where the
        model does something that ours does not.
      write_config: the fields of config.json that describe the model.
      prefix: of most names; checkpoints of the bare model leave it out.
      kernels_transposed: whether their `weight` of a linear map is [out, in].
      ignored: pattern of arrays that transformers recomputes (masks, rotary frequencies).
      duplicates: their names that repeat the token embedding, in tied models or always.
    """

    model_type: str
    architecture: str
    table: Table
    read_config: Callable[[Mapping[str, Any]], models.ModelConfig]
    write_config: Callable[[Any], dict[str, Any]]
    prefix: str = ""
    kernels_transposed: bool = True
    ignored: str | None = None
    duplicates: tuple[str, ...] = ("lm_head.weight",)


@dataclasses.dataclass(frozen=True)
class Tensor:
    """One array of theirs and the arrays of ours that it holds."""

    hf_name: str
    ours: tuple[str, ...]
    transposed: bool
    head_dim: int | None = None  # the parts alternate in runs of this length


def tensors(family: Family, config: models.ModelConfig) -> list[Tensor]:
    """Returns every array of a model by their name and ours.

    Our names are those of unrolled layers: `decoder/layers_3/mlp/wo/kernel`.
    """
    unrolled = dataclasses.replace(config, scan_layers=False)
    found: dict[str, Tensor] = {}
    for ours in trees.flatten(models.abstract_params(unrolled)):
        module, _, leaf = ours.rpartition("/")
        layer = re.search(r"/layers_(\d+)/", ours)
        index = layer[1] if layer else ""
        key = module.replace(f"layers_{index}", "layers_{i}") if layer else module
        turned = leaf in _TRANSPOSED and (family.kernels_transposed or not layer)
        parent, _, part = key.rpartition("/")
        fused = family.table.get(parent)
        if isinstance(fused, Fused) and part in fused.parts:
            hf_name = f"{fused.name}.{_THEIR_LEAF[leaf]}".replace("{i}", index)
            above = module.rpartition("/")[0]
            parts = tuple(f"{above}/{name}/{leaf}" for name in fused.parts)
            head_dim = config.head_dim if fused.per_head else None
            found[hf_name] = Tensor(hf_name, parts, turned, head_dim)
            continue
        named = family.table.get(key)
        if not isinstance(named, str):
            raise UserError(
                f"a {family.architecture} has no place for the parameter {ours!r}; this model is "
                "of another family"
            )
        their_leaf = _THEIR_LEAF.get(leaf, "weight")
        hf_name = f"{named}.{their_leaf}".replace("{i}", index)
        found[hf_name] = Tensor(hf_name, (ours,), turned)
    return list(found.values())


def import_tensors(
    family: Family,
    config: models.ModelConfig,
    arrays: Arrays,
    where: str,
    *,
    quantised_by: str | None = None,
) -> dict[str, LazyArray]:
    """Returns our unrolled parameters as views of theirs.

    Args:
      family: theirs.
      config: the model, as read from their configuration.
      arrays: their tensors by name.
      where: for messages.
      quantised_by: what the model says of its weights having been packed into fewer bits.

    Raises:
      UserError: a tensor is missing, not expected, of another shape, or packed; the first one is
        named.
    """
    _check_layers(config, arrays, where)
    shapes = _shapes(config)
    table = tensors(family, config)
    expected = {entry.hf_name for entry in table}
    embedding = next(t.hf_name for t in table if t.ours[0].endswith("token_embedder/embedding"))
    arrays = stored_names.unwrapped(arrays, expected, family.prefix, where)
    arrays = with_prefix(family, config, arrays)
    stored_names.refuse_packed(arrays, expected, quantised_by, where)
    others = [name for name in family.duplicates if name not in expected]
    arrays = stored_names.with_embedding(arrays, embedding, others, where)
    ours: dict[str, LazyArray] = {}
    for tensor in table:
        if tensor.hf_name not in arrays:
            close = nearest(tensor.hf_name, arrays.keys() - expected)
            raise UserError(
                f"{where}: tensor {tensor.hf_name!r} {_their_shape(tensor, shapes)} is missing, "
                f"which a {family.architecture} of this config.json needs.{close}"
            )
        source = arrays[tensor.hf_name]
        if list(source.shape) != _their_shape(tensor, shapes):
            raise UserError(
                f"{where}: tensor {tensor.hf_name!r} has shape {list(source.shape)}, but its "
                f"config.json gives {_their_shape(tensor, shapes)}: "
                + _remedy(source.shape, _their_shape(tensor, shapes), config)
            )
        ours |= _separate(tensor, source)
    _check_all_used(family, config, arrays, expected, embedding, where)
    return ours


def _remedy(shape: Sequence[int], wanted: Sequence[int], config: models.ModelConfig) -> str:
    if wanted[0] == config.vocab_size and list(shape[1:]) == list(wanted[1:]):
        return (
            f"its vocab_size is {config.vocab_size:,}; set it to {shape[0]:,} if the weights are "
            "right, or get the config.json that belongs to them"
        )
    return "get the config.json that belongs to the weights"


def export_tensors(
    family: Family, config: models.ModelConfig, ours: Arrays
) -> dict[str, LazyArray]:
    """Returns their tensors as views of our unrolled parameters, in the order of our layers."""
    result = {}
    for tensor in sorted(tensors(family, config), key=lambda tensor: _layer_order(tensor.hf_name)):
        result[tensor.hf_name] = _join(tensor, [ours[name] for name in tensor.ours])
    return result


def with_prefix(family: Family, config: models.ModelConfig, arrays: Arrays) -> Arrays:
    """Returns the tensors by the names of the whole model, where the bare model's were given."""
    if not family.prefix or any(name.startswith(family.prefix) for name in arrays):
        return arrays
    outside = {
        t.hf_name for t in tensors(family, config) if not t.hf_name.startswith(family.prefix)
    }
    outside |= set(family.duplicates)
    return {
        name if name in outside else family.prefix + name: array for name, array in arrays.items()
    }


def _check_layers(config: models.ModelConfig, arrays: Arrays, where: str) -> None:
    """Refuses more layers than there are tensors, before thousands of them are gone through."""
    unrolled = sum(stack.num_layers for stack in config.stack_specs().values())
    if unrolled > len(arrays):
        raise UserError(
            f"{where}: its configuration has {unrolled:,} layers, but there are only "
            f"{len(arrays):,} tensors; one of the two is of another model"
        )


def _check_all_used(
    family: Family,
    config: models.ModelConfig,
    arrays: Arrays,
    expected: Collection[str],
    embedding: str,
    where: str,
) -> None:
    for name in arrays:
        if name in expected or name in family.duplicates:
            continue
        if family.ignored is None or not re.search(family.ignored, name):
            raise UserError(
                f"{where}: tensor {name!r} {list(arrays[name].shape)} is not expected in a "
                f"{family.architecture} of this config.json.{nearest(name, expected)}"
            )
    logits = family.duplicates[0]
    repeated = config.tie_embeddings and logits in arrays and logits not in expected
    # A few rows tell weights that config.json calls tied and that are not.
    if repeated and not stored_names.equal_rows(arrays[logits], arrays[embedding]):
        raise UserError(
            f"{where}: config.json says tie_word_embeddings, but {logits} differs from the "
            'token embedding; correct config.json to "tie_word_embeddings": false'
        )


def _separate(tensor: Tensor, source: LazyArray) -> dict[str, LazyArray]:
    """Returns our arrays from one of theirs."""
    array = transposed(source) if tensor.transposed else source
    if len(tensor.ours) == 1:
        return {tensor.ours[0]: array}
    axis = len(array.shape) - 1
    part, place = fused_order(tensor, array.shape[axis] // len(tensor.ours))
    return {
        name: selected(array, np.flatnonzero(part == number)[np.argsort(place[part == number])],
                       axis=axis)
        for number, name in enumerate(tensor.ours)
    }  # fmt: skip


def _join(tensor: Tensor, ours: Sequence[LazyArray]) -> LazyArray:
    """Undoes `_separate`."""
    array = ours[0]
    if len(ours) > 1:
        axis = len(array.shape) - 1
        part, place = fused_order(tensor, array.shape[axis])
        array = gathered(ours, part, place, axis=axis)
    return transposed(array) if tensor.transposed else array


def fused_order(tensor: Tensor, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns for every output feature of the fused tensor its part and its place there."""
    run = tensor.head_dim or size
    number = np.arange(len(tensor.ours) * size)
    turn, within = number // run, number % run
    return turn % len(tensor.ours), turn // len(tensor.ours) * run + within


def _their_shape(tensor: Tensor, shapes: Mapping[str, tuple[int, ...]]) -> list[int]:
    first = shapes[tensor.ours[0]]
    shape = [*first[:-1], sum(shapes[name][-1] for name in tensor.ours)]
    return shape[::-1] if tensor.transposed else shape


def _shapes(config: models.ModelConfig) -> dict[str, tuple[int, ...]]:
    unrolled = dataclasses.replace(config, scan_layers=False)
    flat = trees.flatten(models.abstract_params(unrolled))
    return {name: tuple(leaf.shape) for name, leaf in flat.items()}


def _layer_order(name: str) -> list[Any]:
    """Sorts numbers within names as numbers."""
    pieces = re.split(r"(\d+)", name)
    return [int(piece) if piece.isdigit() else piece for piece in pieces]
