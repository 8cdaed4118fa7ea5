"""Lays Adafactor's slots out as one of T5X's models has them, from a run's layout.

Between the two stands each parameter of an unrolled layer with heads joined, as for parameters
themselves (`models.layouts`), and of its second moment either the whole or its means along the
matrix's two axes:

    encoder/encoder/mlp/wo/kernel/v_row [L, D]  ->  encoder/layers_0/mlp/wo/kernel  {1: [D], ...}
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence

import numpy as np

from tlm_jax import models, trees
from tlm_jax.lazy import LazyArray, in_memory
from tlm_jax.models.config import ModelConfig
from tlm_jax.models.factoring import MatrixDims, factored_dims
from tlm_jax.models.stack import LAYERS_AXIS

PREFIX = "state/param_states/"
"""Begins the names of T5X's slots; a parameter's name and `v`, `v_row`, `v_col` or `m` follow."""

T5X_MIN_DIM_SIZE_TO_FACTOR = 128
_SLOTS = ("m", "v", "v_col", "v_row")
_UNUSED = np.zeros(1, np.float32)
_SCANNED = re.compile(r"^(encoder|decoder)/\1/(.+)$")
_HEADS = re.compile(r"attention/(?:query|key|value|out)/kernel$")

Moment = dict[int | str, np.ndarray]
"""Of one unrolled parameter: "v" whole, or its means, by the axis along which they lie; and "m"."""


def t5x_slots(
    slots: Mapping[str, LazyArray], config: ModelConfig, written: ModelConfig
) -> dict[str, LazyArray]:
    """Returns the slots of a run's Adafactor as T5X's Adafactor has them.

    What T5X keeps whole where the run has means (matrices with a side below
    `min_dim_size_to_factor`, out of a stack of layers) is their product, which is what Adafactor
    itself takes it for. A relative bias that layers share has one moment, which each layer gets.

    Args:
      slots: by T5X's names, in the layout of `config`; none gives none.
      config: the run's model.
      written: the model as it is written; with `scan_layers` that is scalable_t5.
    """
    if not slots:
        return {}
    given: dict[str, dict[str, np.ndarray]] = {}
    for path, array in slots.items():
        name, slot = path.removeprefix(PREFIX).rsplit("/", 1)
        given.setdefault(name, {})[slot] = array.read()
    moments: dict[str, Moment] = {}
    axes = trees.flatten(models.logical_axes(config))
    for name, leaf in trees.flatten(models.abstract_params(config)).items():
        moments |= _unrolled(name, given[name], leaf.shape, axes[name])
    written = dataclasses.replace(written, relpos_per_layer=written.scan_layers)
    least = _least_factored(given)
    result: dict[str, LazyArray] = {}
    axes = trees.flatten(models.logical_axes(written))
    for name, leaf in trees.flatten(models.abstract_params(written)).items():
        dims = factored_dims(name, leaf.shape, axes[name], least)
        found = _arranged(name, moments, tuple(leaf.shape), dims, written.head_dim)
        for slot in _SLOTS:
            result[f"{PREFIX}{name}/{slot}"] = in_memory(found.get(slot, _UNUSED))
    return result


def joined_heads(slots: Mapping[str, LazyArray]) -> dict[str, LazyArray]:
    """Returns the slots of scalable_t5 with heads joined, as parameters are here.

    [L, N, H] of queries, keys and values becomes [L, N·H], [N, L, H] of outputs [N·H, L].
    """

    def joined(name: str, array: LazyArray) -> LazyArray:
        parameter, _, slot = name.rpartition("/")
        if slot != "v_col" or len(array.shape) != 3 or _HEADS.search(parameter) is None:
            return array
        means = array.read()
        if parameter.endswith("out/kernel"):
            means = means.transpose(0, 2, 1)
            return in_memory(means.reshape(-1, means.shape[-1]))
        return in_memory(means.reshape(len(means), -1))

    return {name: joined(name, array) for name, array in slots.items()}


def _unrolled(
    name: str, slots: Mapping[str, np.ndarray], shape: Sequence[int], axes: Sequence[str | None]
) -> dict[str, Moment]:
    """Returns the moments of a parameter, or of each layer of a stack."""
    dims = factored_dims(name, shape, axes, 0)
    whole = tuple(range(len(shape)))
    kept = {"v": whole, "m": whole}
    kept["v_row"] = tuple(dim for dim in whole if dim not in dims.columns)
    kept["v_col"] = tuple(dim for dim in whole if dim not in dims.rows)
    # T5X fills the places of slots that it does not use with one number.
    real = {slot: array for slot, array in slots.items() if array.shape != (1,)}
    match = _SCANNED.match(name)
    if match is None:
        return {name: {_along(slot, kept[slot]): array for slot, array in real.items()}}
    stack, rest = match.groups()
    result: dict[str, Moment] = {}
    for layer in range(shape[LAYERS_AXIS]):
        moment: Moment = {}
        for slot, array in real.items():
            part = np.take(array, layer, axis=kept[slot].index(LAYERS_AXIS))
            moment[_along(slot, _without_layers(kept[slot]))] = part
        result[f"{stack}/layers_{layer}/{rest}"] = moment
    return result


def _without_layers(dims: tuple[int, ...]) -> tuple[int, ...]:
    """Returns what dimensions of a stack are in one of its layers."""
    return tuple(dim - (dim > LAYERS_AXIS) for dim in dims if dim != LAYERS_AXIS)


def _along(slot: str, kept: tuple[int, ...]) -> int | str:
    return slot if slot in ("v", "m") else kept[0]


def _arranged(
    name: str,
    moments: Mapping[str, Moment],
    shape: tuple[int, ...],
    dims: MatrixDims,
    head_dim: int,
) -> dict[str, np.ndarray]:
    """Returns the slots of one of T5X's parameters: of shape `shape`, but for the heads."""
    match = _SCANNED.match(name)
    if match is None:
        return _slots_of(_moment(name, moments), dims)
    stack, rest = match.groups()
    flat = MatrixDims(_without_layers(dims.rows), _without_layers(dims.columns), ())
    layers = [
        _slots_of(_moment(f"{stack}/layers_{layer}/{rest}", moments), flat)
        for layer in range(shape[LAYERS_AXIS])
    ]
    heads = None
    if _HEADS.search(name) is not None:
        heads = 0 if rest.endswith("out/kernel") else 1
    result = {}
    for slot in layers[0]:
        away = {"v_row": flat.columns, "v_col": flat.rows}.get(slot, ())
        kept = [dim for dim in range(len(shape) - 1) if dim not in away]
        parts = [layer[slot] for layer in layers]
        if heads in kept:
            axis = kept.index(heads)
            split = (-1, head_dim)
            parts = [x.reshape(*x.shape[:axis], *split, *x.shape[axis + 1 :]) for x in parts]
        result[slot] = np.stack(parts, axis=LAYERS_AXIS if 0 in kept else 0)
    return result


def _moment(name: str, moments: Mapping[str, Moment]) -> Moment:
    """Returns the moment of an unrolled parameter; a bias for one layer is its stack's, if shared.

    And the other way round: what all layers have alike, the first one has.
    """
    if name in moments:
        return moments[name]
    shared = re.sub(r"/layers_\d+/", "/", name)
    return moments[shared] if shared in moments else moments[name.replace("/", "/layers_0/", 1)]


def _slots_of(moment: Moment, dims: MatrixDims) -> dict[str, np.ndarray]:
    """Returns `v`, or `v_row` and `v_col`, of a parameter of rank 2 at most; and `m`."""
    slots = {"m": moment["m"]} if "m" in moment else {}
    if not dims.rows:
        return slots | {"v": _whole(moment)}
    (row,), (column,) = dims.rows, dims.columns
    means = {axis: moment["v"].mean(axis=1 - axis) for axis in (0, 1)} if "v" in moment else moment
    return slots | {"v_row": means[row], "v_col": means[column]}


def _whole(moment: Moment) -> np.ndarray:
    if "v" in moment:
        return moment["v"]
    rows, columns = moment[0], moment[1]
    mean = rows.mean()
    return np.outer(rows, columns) / (mean if mean > 0 else 1.0)


def _least_factored(given: Mapping[str, Mapping[str, np.ndarray]]) -> int:
    """Returns the `min_dim_size_to_factor` of a run: T5X's, unless its tables tell otherwise."""
    smaller_sides = [
        min(slots["v_row"].size, slots["v_col"].size)
        for slots in given.values()
        if "v_row" in slots and slots["v_row"].ndim == slots["v_col"].ndim == 1
    ]
    return min([T5X_MIN_DIM_SIZE_TO_FACTOR, *(side for side in smaller_sides if side > 1)])
