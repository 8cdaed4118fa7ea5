"""Names the leaves of nested dicts by their '/'-joined path, as T5X does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any


def flatten(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Returns `{'a/b/c': leaf}`, sorted by name. Every value that is no mapping is a leaf."""
    flat: dict[str, Any] = {}

    def walk(prefix: str, node: Mapping[str, Any]) -> None:
        for key, value in node.items():
            name = f"{prefix}{key}"
            if isinstance(value, Mapping):
                walk(f"{name}/", value)
            else:
                flat[name] = value

    walk("", tree)
    return dict(sorted(flat.items()))


def unflatten(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Undoes `flatten`."""
    tree: dict[str, Any] = {}
    for name, leaf in flat.items():
        *parents, last = name.split("/")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = leaf
    return tree


def map_named(function: Callable[[str, Any], Any], tree: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the tree with `function(name, leaf)` in place of every leaf."""
    return unflatten({name: function(name, leaf) for name, leaf in flatten(tree).items()})
