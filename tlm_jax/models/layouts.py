"""Converts parameters between scanned and unrolled layers, and between T5X's kernel shapes.

Every conversion passes through one form: unrolled layers (`encoder/layers_0/...`), heads joined
(`[D, N·H]`). Parameters are lazy arrays here, so that files of any size can be rearranged.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from tlm_jax import trees
from tlm_jax.errors import UserError, nearest
from tlm_jax.lazy import LazyArray, in_memory, joined_axes, layer_of, split_axis, stacked
from tlm_jax.models.api import abstract_params
from tlm_jax.models.config import ModelConfig
from tlm_jax.models.stack import LAYERS_AXIS
from tlm_jax.types import Params

Arrays = Mapping[str, LazyArray]
"""Parameters by their '/'-joined names."""

_ATTENTION_KERNEL = re.compile(r"attention/(query|key|value|out)/kernel$")
_UNROLLED = re.compile(r"^(encoder|decoder)/layers_(\d+)/(.+)$")
_SCANNED = re.compile(r"^(encoder|decoder)/\1/(.+)$")
_SHARED_BIAS = re.compile(r"^(encoder|decoder)/relpos_bias/rel_embedding$")
_LAYER_BIAS = re.compile(r"^(encoder|decoder)/(?:\1|layers_\d+)/relpos_bias/rel_embedding$")


def to_layout(params: Params, config: ModelConfig) -> Params:
    """Returns the parameters of any T5X-shaped tree in the layout that `config` uses.

    Heads split or joined, layers scanned or unrolled, relative bias shared or one a layer: all are
    accepted. A logits matrix is dropped where the configuration ties it to the embeddings.

    Returns:
      NumPy arrays.

    Raises:
      UserError: a parameter is missing, unexpected or of another shape; the first one is named.
    """
    arrays = {name: in_memory(np.asarray(leaf)) for name, leaf in trees.flatten(params).items()}
    arranged = arrange(unrolled(arrays), config)
    tree = trees.unflatten({name: array.read() for name, array in arranged.items()})
    check_shapes(tree, config)
    return tree


def unrolled(arrays: Arrays) -> dict[str, LazyArray]:
    """Returns the parameters with unrolled layers and joined heads, from any T5X form.

    scalable_t5 stores attention kernels as [D, (L,) N, H] and [N, (L,) H, D]; here and in T5X's
    other models they are [D, (L,) N·H] and [N·H, (L,) D].
    """
    return {name: _joined(name, array) for name, array in unstack_layers(arrays).items()}


def arrange(arrays: Arrays, config: ModelConfig) -> dict[str, LazyArray]:
    """Returns unrolled parameters in the layout that `config` uses; shapes are not checked.

    Raises:
      UserError: layers have relative biases of their own, and the configuration shares one.
    """
    num_layers = {name: spec.num_layers for name, spec in config.stack_specs().items()}
    if config.relpos_per_layer:
        arranged = _repeat_relative_bias(arrays, num_layers)
    else:
        arranged = _share_relative_bias(arrays)
    if config.tie_embeddings:
        arranged.pop("decoder/logits_dense/kernel", None)
    return stack_layers(arranged) if config.scan_layers else arranged


def check_shapes(params: Params, config: ModelConfig) -> None:
    """Compares names and shapes with those of the configuration.

    Raises:
      UserError: names the first parameter that differs, and both shapes.
    """
    expected = {name: leaf.shape for name, leaf in trees.flatten(abstract_params(config)).items()}
    given = {name: tuple(leaf.shape) for name, leaf in trees.flatten(params).items()}
    for name in sorted(expected.keys() | given.keys()):
        if name not in given:
            raise UserError(
                f"Parameter {name!r} {expected[name]} of the model is missing from the parameters "
                f"given.{nearest(name, given.keys() - expected.keys())}"
            )
        if name not in expected:
            raise UserError(
                f"Parameter {name!r} {given[name]} does not belong to the model."
                f"{nearest(name, expected.keys() - given.keys())}"
            )
        if given[name] != expected[name]:
            raise UserError(
                f"Parameter {name!r} has shape {given[name]}, but the model's configuration gives "
                f"{expected[name]}. They are of different models or sizes."
            )


def stack_layers(arrays: Arrays) -> dict[str, LazyArray]:
    """Stacks `encoder/layers_0/...`, `layers_1`, ... at axis 1, as `encoder/encoder/...`."""
    result: dict[str, LazyArray] = {}
    groups: dict[str, dict[int, LazyArray]] = {}
    for name, array in arrays.items():
        if match := _UNROLLED.match(name):
            stack, index, rest = match.groups()
            groups.setdefault(f"{stack}/{stack}/{rest}", {})[int(index)] = array
        else:
            result[name] = array
    for name, layers in groups.items():
        if sorted(layers) != list(range(len(layers))):
            raise UserError(f"Parameter {name!r} is given for layers {sorted(layers)} only.")
        result[name] = stacked([layers[index] for index in range(len(layers))], axis=LAYERS_AXIS)
    return result


def unstack_layers(arrays: Arrays) -> dict[str, LazyArray]:
    """Undoes `stack_layers`."""
    result: dict[str, LazyArray] = {}
    for name, array in arrays.items():
        if match := _SCANNED.match(name):
            stack, rest = match.groups()
            for index in range(array.shape[LAYERS_AXIS]):
                layer = layer_of(array, index, axis=LAYERS_AXIS)
                result[f"{stack}/layers_{index}/{rest}"] = layer
        else:
            result[name] = array
    return result


def split_heads(arrays: Arrays, head_dim: int) -> dict[str, LazyArray]:
    """Returns unrolled parameters with attention kernels [D, N, H] and [N, H, D]."""

    def split(name: str, array: LazyArray) -> LazyArray:
        if _ATTENTION_KERNEL.search(name) is None:
            return array
        return split_axis(array, head_dim, axis=_heads_axis(name))

    return {name: split(name, array) for name, array in arrays.items()}


def _joined(name: str, array: LazyArray) -> LazyArray:
    if _ATTENTION_KERNEL.search(name) is None or len(array.shape) == 2:
        return array
    return joined_axes(array, axis=_heads_axis(name))


def _heads_axis(name: str) -> int:
    return 0 if name.endswith("out/kernel") else 1


def _repeat_relative_bias(arrays: Arrays, num_layers: Mapping[str, int]) -> dict[str, LazyArray]:
    """Gives every unrolled layer its own copy of a bias that its stack shares."""
    repeated: dict[str, LazyArray] = {}
    for name, array in arrays.items():
        if match := _SHARED_BIAS.match(name):
            stack = match[1]
            for index in range(num_layers[stack]):
                repeated[f"{stack}/layers_{index}/relpos_bias/rel_embedding"] = array
        else:
            repeated[name] = array
    return repeated


def _share_relative_bias(arrays: Arrays) -> dict[str, LazyArray]:
    """Undoes `_repeat_relative_bias`, where all layers of a stack have the same bias."""
    shared: dict[str, LazyArray] = {}
    for name, array in arrays.items():
        match = _LAYER_BIAS.match(name)
        if match is None:
            shared[name] = array
            continue
        target = f"{match[1]}/relpos_bias/rel_embedding"
        first = shared.setdefault(target, array)
        if first is not array and not np.array_equal(first.read(), array.read()):
            raise UserError(
                f"Layers of the {match[1]} have different relative biases ({name!r}), but the "
                "model's configuration shares one; set relpos_per_layer=True."
            )
    return shared
