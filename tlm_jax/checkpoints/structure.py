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


def nested(leaves: Mapping[str, Any]) -> dict[str, Any]:
    """Returns nested dicts for '/'-joined names; what is written does not depend on our classes."""
    tree: dict[str, Any] = {}
    for name, leaf in leaves.items():
        *parents, last = name.split("/")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = leaf
    return tree


def unnested(tree: Mapping[str, Any], like: Any) -> Any:
    """Returns the leaves of the nested dicts `tree` in the structure of `like`."""
    leaves = named_leaves(tree)
    return jax.tree.unflatten(
        jax.tree.structure(like), [leaves[name] for name in named_leaves(like)]
    )


def check_same(
    saved: Mapping[str, ArraySpec], wanted: Mapping[str, ArraySpec], *, where: str, remedy: str
) -> None:
    """Checks that a checkpoint holds exactly the wanted arrays.

    Args:
      saved: what the checkpoint holds.
      wanted: what the model and the optimizer need.
      where: the checkpoint, for the message.
      remedy: what the user can do, for the message.

    Raises:
      UserError: naming the first array that is missing, not expected, or of another shape or
        dtype; parameters come before the optimizer's arrays.
    """
    for name in sorted(wanted, key=_parameters_first):
        if name not in saved:
            problem = f"it has no {name!r}, which this model needs.{nearest(name, saved)}"
        elif saved[name].shape != wanted[name].shape:
            problem = (
                f"{name!r} has shape {list(saved[name].shape)} in the checkpoint and "
                f"{list(wanted[name].shape)} in this model."
            )
        elif saved[name].dtype != wanted[name].dtype:
            problem = (
                f"{name!r} is {saved[name].dtype} in the checkpoint and "
                f"{wanted[name].dtype} in this model."
            )
        else:
            continue
        raise UserError(f"{where} is from a different model: {problem} {remedy}")
    for name in sorted(saved, key=_parameters_first):
        if name not in wanted:
            raise UserError(
                f"{where} is from a different model: it has {name!r}, which this model has not. "
                f"{remedy}"
            )


def _parameters_first(name: str) -> bool:
    return not name.startswith(PARAMETERS + "/")
