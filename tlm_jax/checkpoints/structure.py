"""Names the arrays of a state, and explains how a checkpoint's arrays differ from a model's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from tlm_jax.checkpoints.manifest import ArraySpec
from tlm_jax.errors import UserError, nearest

PARAMETERS = "params"
"""The field of a state that holds the model's parameters."""

AUXILIARY = "auxiliary"
"""Among the parameters, what only training needs; no part of the model."""


def named_leaves(tree: Any) -> dict[str, Any]:
    """Returns the leaves by their '/'-joined path, in the tree's order."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def array_specs(tree: Any) -> dict[str, ArraySpec]:
    """Returns shape and dtype of every leaf, arrays and `ShapeDtypeStruct`s alike."""
    return {
        name: ArraySpec(tuple(np.shape(leaf)), str(np.dtype(leaf.dtype)))
        for name, leaf in named_leaves(tree).items()
    }


def unnested(tree: Mapping[str, Any], like: Any) -> Any:
    """Returns the leaves of the nested dicts `tree` in the structure of `like`."""
    leaves = named_leaves(tree)
    return jax.tree.unflatten(
        jax.tree.structure(like), [leaves[name] for name in named_leaves(like)]
    )


def check_same(
    found: Mapping[str, Any],
    wanted: Mapping[str, Any],
    *,
    where: str,
    model: str = "this model",
    remedy: str = "",
    same_types: bool = False,
) -> None:
    """Checks that exactly the wanted arrays are there.

    Args:
      found: what there is, by name; anything with a shape and a dtype.
      wanted: what a model, and perhaps its optimizer, needs.
      where: where it was found, for the message.
      model: what wants it, for the message.
      remedy: what the user can do, for the message.
      same_types: whether types must be the same; else any floating-point type will do.

    Raises:
      UserError: naming the first array that is missing, not expected, or of another shape or
        type; parameters come before the optimizer's arrays.
    """
    unexpected = found.keys() - wanted.keys()
    for name in sorted(wanted.keys() | found.keys(), key=_parameters_first):
        if name not in found:
            hint = nearest(name, unexpected)
            problem = f"it has no {name!r}, which {model} needs.{hint}"
        elif name not in wanted:
            problem = f"it has {name!r}, which {model} has not."
        else:
            problem = _difference(found[name], wanted[name], model, same_types)
            if problem is None:
                continue
            problem = f"{name!r} {problem}"
        raise UserError(f"{where} is of a different model: {problem} {remedy}".rstrip())


def _difference(found: Any, wanted: Any, model: str, same_types: bool) -> str | None:
    """Returns how an array differs from the one wanted, if it does."""
    if tuple(found.shape) != tuple(wanted.shape):
        return f"has shape {list(found.shape)} there and {list(wanted.shape)} in {model}."
    types = np.dtype(found.dtype), np.dtype(wanted.dtype)
    if same_types and types[0] != types[1]:
        return f"is {types[0]} there and {types[1]} in {model}."
    if not same_types and types[0].kind in "iub":
        return f"is {types[0]} there, expected floating point."
    return None


def _parameters_first(name: str) -> tuple[bool, str]:
    return not name.startswith(PARAMETERS + "/"), name
