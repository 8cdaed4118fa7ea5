"""Converts parameter trees between scanned and unrolled layers, and between T5X's kernel shapes."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from tlm_jax import trees
from tlm_jax.errors import UserError, nearest
from tlm_jax.models.api import abstract_params
from tlm_jax.models.config import EncoderDecoderConfig, ModelConfig
from tlm_jax.models.stack import LAYERS_AXIS
from tlm_jax.types import Params

_ATTENTION_KERNEL = re.compile(r"attention/(query|key|value|out)/kernel$")
_UNROLLED = re.compile(r"^(encoder|decoder)/layers_(\d+)/(.+)$")
_SCANNED = re.compile(r"^(encoder|decoder)/\1/(.+)$")
_SHARED_BIAS = re.compile(r"^(encoder|decoder)/relpos_bias/rel_embedding$")
_LAYER_BIAS = re.compile(r"^(encoder|decoder)/(?:\1|layers_\d+)/relpos_bias/rel_embedding$")


def to_layout(params: Params, config: ModelConfig) -> Params:
    """Returns the parameters of any T5X-shaped tree in the layout that `config` uses.

    Heads split or joined, layers scanned or unrolled, relative bias shared or one a layer: all are
    accepted. A logits matrix is dropped where the configuration ties it to the embeddings.

    Raises:
      UserError: a parameter is missing, unexpected or of another shape; the first one is named.
    """
    flat = trees.flatten(unstack_layers(join_heads(params)))
    num_layers = _num_layers(config)
    if config.relpos_per_layer:
        flat = _repeat_relative_bias(flat, num_layers)
    else:
        flat = _share_relative_bias(flat)
    if config.tie_embeddings:
        flat.pop("decoder/logits_dense/kernel", None)
    tree = trees.unflatten(flat)
    if config.scan_layers:
        tree = stack_layers(tree)
    check_shapes(tree, config)
    return tree


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


def stack_layers(params: Params) -> Params:
    """Stacks `encoder/layers_0/...`, `layers_1`, ... at axis 1, as `encoder/encoder/...`."""
    stacked: dict[str, Any] = {}
    groups: dict[str, dict[int, Any]] = {}
    for name, leaf in trees.flatten(params).items():
        if match := _UNROLLED.match(name):
            stack, index, rest = match.groups()
            groups.setdefault(f"{stack}/{stack}/{rest}", {})[int(index)] = leaf
        else:
            stacked[name] = leaf
    for name, layers in groups.items():
        if sorted(layers) != list(range(len(layers))):
            raise UserError(f"Parameter {name!r} is given for layers {sorted(layers)} only.")
        leaves = [layers[index] for index in range(len(layers))]
        stacked[name] = _numpy_of(leaves[0]).stack(leaves, axis=LAYERS_AXIS)
    return trees.unflatten(stacked)


def unstack_layers(params: Params) -> Params:
    """Undoes `stack_layers`."""
    flat: dict[str, Any] = {}
    for name, leaf in trees.flatten(params).items():
        if match := _SCANNED.match(name):
            stack, rest = match.groups()
            for index in range(leaf.shape[LAYERS_AXIS]):
                flat[f"{stack}/layers_{index}/{rest}"] = leaf[:, index]
        else:
            flat[name] = leaf
    return trees.unflatten(flat)


def join_heads(params: Params) -> Params:
    """Merges the two head dimensions of attention kernels, where they are apart.

    scalable_t5 stores [D, (L,) N, H] and [N, (L,) H, D]; here and in T5X's other models they are
    [D, (L,) N·H] and [N·H, (L,) D].
    """

    def join(name: str, kernel: Any, scanned: bool) -> Any:
        if kernel.ndim == (3 if scanned else 2):
            return kernel
        if name.endswith("out/kernel"):
            if scanned:
                kernel = kernel.transpose(0, 2, 1, 3)
            return kernel.reshape(-1, *kernel.shape[2:])
        return kernel.reshape(*kernel.shape[:-2], -1)

    return _map_attention_kernels(join, params)


def split_heads(params: Params, head_dim: int) -> Params:
    """Undoes `join_heads`: the form in which scalable_t5 stores attention kernels."""

    def split(name: str, kernel: Any, scanned: bool) -> Any:
        if kernel.ndim != (3 if scanned else 2):
            return kernel
        if name.endswith("out/kernel"):
            kernel = kernel.reshape(-1, head_dim, *kernel.shape[1:])
            return kernel.transpose(0, 2, 1, 3) if scanned else kernel
        return kernel.reshape(*kernel.shape[:-1], -1, head_dim)

    return _map_attention_kernels(split, params)


def _map_attention_kernels(
    function: Callable[[str, Any, bool], Any], params: Mapping[str, Any]
) -> Params:
    def convert(name: str, leaf: Any) -> Any:
        if _ATTENTION_KERNEL.search(name) is None:
            return leaf
        return function(name, leaf, _SCANNED.match(name) is not None)

    return trees.map_named(convert, params)


def _repeat_relative_bias(flat: dict[str, Any], num_layers: Mapping[str, int]) -> dict[str, Any]:
    """Gives every unrolled layer its own copy of a bias that its stack shares."""
    repeated: dict[str, Any] = {}
    for name, leaf in flat.items():
        if match := _SHARED_BIAS.match(name):
            stack = match[1]
            for index in range(num_layers[stack]):
                repeated[f"{stack}/layers_{index}/relpos_bias/rel_embedding"] = leaf
        else:
            repeated[name] = leaf
    return repeated


def _share_relative_bias(flat: dict[str, Any]) -> dict[str, Any]:
    """Undoes `_repeat_relative_bias`, where all layers of a stack have the same bias."""
    shared: dict[str, Any] = {}
    for name, leaf in flat.items():
        match = _LAYER_BIAS.match(name)
        if match is None:
            shared[name] = leaf
            continue
        target = f"{match[1]}/relpos_bias/rel_embedding"
        first = shared.setdefault(target, leaf)
        if not np.array_equal(first, leaf):
            raise UserError(
                f"Layers of the {match[1]} have different relative biases ({name!r}), but the "
                "model's configuration shares one; set relpos_per_layer=True."
            )
    return shared


def _num_layers(config: ModelConfig) -> dict[str, int]:
    if isinstance(config, EncoderDecoderConfig):
        return {"encoder": config.num_encoder_layers, "decoder": config.num_decoder_layers}
    return {"decoder": config.num_layers}


def _numpy_of(array: Any) -> Any:
    return np if isinstance(array, np.ndarray) else jnp
