"""Describes a model's parameters as text, for `model-info.txt` and the terminal."""

from __future__ import annotations

import math

from jax.sharding import Mesh

from tlm_jax import trees
from tlm_jax.models.api import abstract_params, logical_axes
from tlm_jax.models.config import ModelConfig
from tlm_jax.sharding import rules


def num_params(config: ModelConfig) -> int:
    """Returns the number of parameters."""
    return sum(math.prod(leaf.shape) for leaf in trees.flatten(abstract_params(config)).values())


def model_info(config: ModelConfig, mesh: Mesh | None = None) -> str:
    """Returns a table of the parameters: name, shape, logical axes, and how the mesh splits them.

    Args:
      config: the model.
      mesh: None leaves the last column out.
    """
    shapes = trees.flatten(abstract_params(config))
    axes = trees.flatten(logical_axes(config))
    rows = [("parameter", "shape", "logical axes", "split over" if mesh else "")]
    for name, leaf in sorted(shapes.items()):
        spec = rules.parameter_spec(axes[name], leaf.shape, mesh) if mesh else None
        rows.append(
            (
                name,
                " x ".join(map(str, leaf.shape)),
                ", ".join(axis or "-" for axis in axes[name]),
                "" if spec is None else ", ".join(_split(part) for part in spec),
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows
    ]
    return "\n".join([*lines, "", f"{num_params(config):,} parameters", "", repr(config), ""])


def _split(part: str | tuple[str, ...] | None) -> str:
    return "-" if part is None else part if isinstance(part, str) else "+".join(part)
