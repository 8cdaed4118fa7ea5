"""Dimensions of a parameter that are a matrix's rows, its columns, or a stack of matrices."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from tlm_jax.errors import UserError, nearest


class Role(enum.Enum):
    """What a logical axis is to an optimizer that sees parameters as matrices."""

    ROW = "row"
    COLUMN = "column"
    BATCH = "batch"  # one matrix after another: statistics are never shared along it
    NONE = "none"


FactorRules = Mapping[str, Role]

FACTOR_RULES: FactorRules = {
    "embed": Role.ROW,
    "vocab": Role.COLUMN,
    "mlp": Role.COLUMN,
    "heads": Role.COLUMN,
    "kv_heads": Role.COLUMN,
    "kv": Role.COLUMN,
    "joined_kv": Role.COLUMN,
    "layers": Role.BATCH,
    "relpos_buckets": Role.NONE,
    "positions": Role.COLUMN,
}
"""T5X's `standard_logical_factor_rules`, with the axes that T5X has no models for."""


class MatrixDims(NamedTuple):
    """Dimensions of a parameter by role; rows and columns are both empty where it is no matrix."""

    rows: tuple[int, ...]
    columns: tuple[int, ...]
    batch: tuple[int, ...]


def matrix_dims(
    name: str, axes: Sequence[str | None], rules: FactorRules = FACTOR_RULES
) -> MatrixDims:
    """Returns the roles of the dimensions of the parameter `name` with logical axes `axes`.

    A parameter is a matrix only where every dimension has a role: rows without columns, or the
    other way round, are none; rows and columns beside a dimension of neither are an error.

    Raises:
      UserError: an axis is not in the rules, or rows, columns and NONE meet in one parameter.
    """
    for axis in axes:
        if axis is not None and axis not in rules:
            raise UserError(
                f"parameter {name!r} has the logical axis {axis!r}, which the optimizer's factor "
                f"rules do not know; add it to them.{nearest(axis, rules)}"
            )
    roles = [Role.NONE if axis is None else rules[axis] for axis in axes]
    rows, columns, batch, none = (
        tuple(dim for dim, role in enumerate(roles) if role is wanted)
        for wanted in (Role.ROW, Role.COLUMN, Role.BATCH, Role.NONE)
    )
    if not rows or not columns:
        return MatrixDims((), (), batch)
    if none:
        raise UserError(
            f"parameter {name!r} with logical axes {tuple(axes)} has rows, columns and dimensions "
            f"of neither; give each a role in the optimizer's factor rules"
        )
    return MatrixDims(rows, columns, batch)


def factored_dims(
    name: str,
    shape: Sequence[int],
    axes: Sequence[str | None],
    min_dim_size: int,
    rules: FactorRules = FACTOR_RULES,
) -> MatrixDims:
    """Returns the dimensions along which Adafactor factors its second moment.

    As T5X: parameters of rank 1 and 2 without a batch dimension are factored where both sizes are
    at least `min_dim_size`, the smaller as rows; all others follow the rules, whatever their size.
    """
    dims = matrix_dims(name, axes, rules)
    if len(shape) > 2 or dims.batch:
        return dims
    if len(shape) < 2 or min(shape) < min_dim_size:
        return MatrixDims((), (), ())
    smaller, larger = np.argsort(shape)
    return MatrixDims((int(smaller),), (int(larger),), ())
