"""Brings a model's tensors under transformers' names, from those that other programs leave.

Training wrappers put a name before or into every name, `safetensors` drops all but one of the names
that tied weights have, and packed weights come with tensors of their own.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

import numpy as np

from tlm_jax.errors import UserError
from tlm_jax.lazy import LazyArray

Arrays = Mapping[str, LazyArray]

_WRAPPERS = re.compile(
    r"(?<![^.])(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module|_forward_module)\."
)
"""What torch.compile, FSDP and activation checkpoints put around a module."""

_PACKED = re.compile(
    r"\.(?:qweight|qzeros|scales|biases|g_idx|absmax|nested_absmax|quant_map|nested_quant_map|SCB|W_q"
    r"|weight_(?:format|scale|scale_inv|scale_2|packed|shape|zero_point)|(?:input|output)_scale"
    r"|_data|_scale|_packed|blocks|codebooks)$|\.quant_state\.|_(?:blocks|scales)$"
)
"""Tensors beside or instead of a weight that is packed into fewer bits."""

_ADAPTED = re.compile(r"\.(?:base_layer|lora_[AB]|lora_embedding_[AB])(?:\.|$)")


def unwrapped(arrays: Arrays, expected: Collection[str], prefix: str, where: str) -> Arrays:
    """Returns the tensors without the names that wrappers put around the model.

    Those within names (`_orig_mod.`) are known; what stands before all names (`module.`, `model.`)
    is found by an expected name behind it.

    Args:
      arrays: by their names in the file.
      expected: the names of the whole model.
      prefix: of the family, which the bare model leaves out.
      where: for messages.

    Raises:
      UserError: two tensors have one name without it.
    """
    names = {name: _WRAPPERS.sub("", name) for name in arrays}
    before = _common_start(names.values(), {*expected, *(n.removeprefix(prefix) for n in expected)})
    found: dict[str, LazyArray] = {}
    for name, plain in names.items():
        plain = plain.removeprefix(before)
        if plain in found:
            raise UserError(f"{where}: tensor {plain!r} is there twice, once as {name!r}")
        found[plain] = arrays[name]
    return found


def with_embedding(
    arrays: Arrays, embedding: str, duplicates: Collection[str], where: str
) -> Arrays:
    """Returns the tensors with the token embedding, which a file may have by another name only.

    Args:
      arrays: by transformers' names.
      embedding: the first of its names.
      duplicates: its others, in a model of this configuration.
      where: for messages.

    Raises:
      UserError: it has several of these, and they differ.
    """
    same = [name for name in duplicates if name in arrays]
    if embedding in arrays or not same:
        return arrays
    for other in same[1:]:
        if not equal_rows(arrays[same[0]], arrays[other]):
            raise UserError(
                f"{where}: tensor {embedding!r} is missing, and {same[0]!r} and {other!r}, which "
                "repeat it, differ; get the model again"
            )
    return {**arrays, embedding: arrays[same[0]]}


def equal_rows(first: LazyArray, second: LazyArray) -> bool:
    """Returns whether two tensors have one shape and, as far as a few rows tell, one content."""
    rows = slice(0, min(256, *(array.shape[0] for array in (first, second))))
    return first.shape == second.shape and np.array_equal(first[rows], second[rows])


def refuse_packed(
    arrays: Arrays, expected: Collection[str], quantised_by: str | None, where: str
) -> None:
    """Refuses weights that are not there as numbers of their own.

    Args:
      arrays: by transformers' names.
      expected: the names of the whole model.
      quantised_by: what the model says of it.
      where: for messages.

    Raises:
      UserError: they are packed into fewer bits, or have adapters around them.
    """
    for name, array in arrays.items():
        whole = name in expected
        if not whole and _ADAPTED.search(name):
            raise UserError(
                f"{where}: tensor {name!r} is a part of PEFT's adapters within the model; merge "
                "them with merge_and_unload() and save it again"
            )
        packed = array.dtype.kind in "iub" or array.dtype.itemsize == 1
        if (whole and packed) or (not whole and _PACKED.search(name)):
            what = f"is {array.dtype}; expected floating point" if whole else "is not a weight"
            how = f" ({quantised_by})" if quantised_by else ""
            raise UserError(
                f"{where}: tensor {name!r} {what}: the weights are quantised{how}; get the model "
                "as it was before it was quantised"
            )


def _common_start(names: Collection[str], known: Collection[str]) -> str:
    """Returns what stands before a known name in all names; nothing if that is not so."""
    for name in names:
        parts = name.split(".")
        for cut in range(len(parts)):
            if ".".join(parts[cut:]) in known:
                start = ".".join([*parts[:cut], ""]) if cut else ""
                return start if all(other.startswith(start) for other in names) else ""
    return ""
