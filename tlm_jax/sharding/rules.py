"""One table says on which mesh axes each logical axis of an array is split."""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from tlm_jax.errors import UserError, nearest

LogicalAxes = tuple[str | None, ...]
"""One logical name for each dimension of an array; None is never split."""


class AxisRule(NamedTuple):
    """Mesh axes of one logical axis, major to minor; () is never split.

    Parameters and activations have a column each: under fsdp the D dimension of a parameter is
    split, while that of an activation is whole because its rows are split instead.
    """

    parameters: tuple[str, ...] = ()
    activations: tuple[str, ...] = ()


Rules = Mapping[str, AxisRule]

LOGICAL_AXIS_RULES: Rules = {
    # logical axis             parameters   activations
    "batch": AxisRule((), ("data", "fsdp")),
    "length": AxisRule((), ()),
    "embed": AxisRule(("fsdp",), ()),
    "vocab": AxisRule(("tensor",), ("tensor",)),
    "mlp": AxisRule(("tensor",), ("tensor",)),
    "heads": AxisRule(("tensor",), ("tensor",)),
    "kv_heads": AxisRule(("tensor",), ("tensor",)),
    "joined_kv": AxisRule(("tensor",), ("tensor",)),
    "kv": AxisRule((), ()),
    "layers": AxisRule((), ()),
    "positions": AxisRule((), ()),
    "relpos_buckets": AxisRule((), ()),
}


def parameter_spec(
    axes: LogicalAxes,
    shape: Sequence[int],
    mesh: Mesh,
    rules: Rules = LOGICAL_AXIS_RULES,
) -> PartitionSpec:
    """Returns how a parameter is split.

    A dimension that the mesh axis does not divide stays whole (the table printed by `model_info`
    shows it), so that one table serves models of every size.

    Raises:
      UserError: a name is not in the table, or two dimensions want the same mesh axis.
    """
    return _spec(axes, shape, mesh, {name: rule.parameters for name, rule in rules.items()})


def activation_spec(
    axes: LogicalAxes,
    shape: Sequence[int],
    mesh: Mesh,
    rules: Rules = LOGICAL_AXIS_RULES,
) -> PartitionSpec:
    """Returns how an activation or a batch feature is split; as `parameter_spec` otherwise."""
    return _spec(axes, shape, mesh, {name: rule.activations for name, rule in rules.items()})


def named_shardings(
    axes_tree: Any, mesh: Mesh, rules: Rules = LOGICAL_AXIS_RULES, shapes: Any = None
) -> Any:
    """Returns a tree of `NamedSharding`, one for each parameter.

    Args:
      axes_tree: a tree of logical axes, a tuple of names an array.
      mesh: the mesh.
      rules: the table.
      shapes: a tree of arrays or `ShapeDtypeStruct`s of the same structure.
    """

    def shard(axes: LogicalAxes, array: Any) -> NamedSharding:
        return NamedSharding(mesh, parameter_spec(axes, array.shape, mesh, rules))

    return jax.tree.map(shard, axes_tree, shapes, is_leaf=is_logical_axes)


def batch_sharding(mesh: Mesh, rules: Rules = LOGICAL_AXIS_RULES) -> NamedSharding:
    """Returns the sharding of batch features `[B, ...]`: rows over `data` and `fsdp`."""
    return NamedSharding(mesh, PartitionSpec(rules["batch"].activations))


def batch_divisor(mesh: Mesh, rules: Rules = LOGICAL_AXIS_RULES) -> int:
    """Returns the number that a batch size must be a multiple of on this mesh."""
    return _size(mesh, rules["batch"].activations)


def is_logical_axes(value: Any) -> bool:
    """Tells the tuples of a tree of logical axes from its containers, named tuples among them."""
    return type(value) is tuple and all(name is None or isinstance(name, str) for name in value)


@contextlib.contextmanager
def use_rules(mesh: Mesh, rules: Rules = LOGICAL_AXIS_RULES) -> Iterator[None]:
    """Makes `constrain` act on this mesh by these rules, in this thread, while tracing."""
    token = _active.set((mesh, rules))
    try:
        yield
    finally:
        _active.reset(token)


def constrain(x: jax.Array, axes: LogicalAxes) -> jax.Array:
    """Pins the sharding of an activation; the identity outside `use_rules`."""
    active = _active.get()
    if active is None:
        return x
    mesh, rules = active
    if mesh.size == 1:
        return x
    spec = activation_spec(axes, x.shape, mesh, rules)
    return jax.lax.with_sharding_constraint(x, NamedSharding(mesh, spec))


def batch_shards() -> int:
    """Returns how many ways the rules in use split a batch's rows; 1 outside `use_rules`."""
    active = _active.get()
    return 1 if active is None else batch_divisor(*active)


def axis_shards(name: str, size: int, *, of_parameters: bool = False) -> int:
    """Returns how many ways the rules in use split an activation's axis, or a parameter's.

    1 outside `use_rules`.
    """
    active = _active.get()
    if active is None:
        return 1
    mesh, rules = active
    spec = parameter_spec if of_parameters else activation_spec
    axes = spec((name,), (size,), mesh, rules)[0]
    return 1 if axes is None else _size(mesh, (axes,) if isinstance(axes, str) else axes)


_active: contextvars.ContextVar[tuple[Mesh, Rules] | None] = contextvars.ContextVar(
    "active_sharding_rules", default=None
)


def _spec(
    axes: LogicalAxes, shape: Sequence[int], mesh: Mesh, table: Mapping[str, tuple[str, ...]]
) -> PartitionSpec:
    if len(axes) != len(shape):
        raise ValueError(f"logical axes {axes} do not fit an array of shape {tuple(shape)}")
    _reject_shared_mesh_axes(axes, table)
    return PartitionSpec(
        *(
            _dividing(() if name is None else table[name], size, mesh)
            for name, size in zip(axes, shape)
        )
    )


def _reject_shared_mesh_axes(axes: LogicalAxes, table: Mapping[str, tuple[str, ...]]) -> None:
    taken: dict[str, str] = {}
    for name in axes:
        if name is None:
            continue
        if name not in table:
            raise UserError(
                f"No sharding rule for the logical axis {name!r} (of {axes})."
                f"{nearest(name, table)} Known: {', '.join(sorted(table))}."
            )
        for mesh_axis in table[name]:
            if mesh_axis in taken:
                raise UserError(
                    f"The sharding rules put both {taken[mesh_axis]!r} and {name!r} of an array "
                    f"with axes {axes} on the mesh axis {mesh_axis!r}; change one of the two rules."
                )
            taken[mesh_axis] = name


def _dividing(mesh_axes: tuple[str, ...], size: int, mesh: Mesh) -> str | tuple[str, ...] | None:
    """Returns the longest run of leading mesh axes whose product divides `size`."""
    used = tuple(axis for axis in mesh_axes if mesh.shape[axis] > 1)
    while used and size % _size(mesh, used):
        used = used[:-1]
    if not used:
        return None
    return used[0] if len(used) == 1 else used


def _size(mesh: Mesh, mesh_axes: tuple[str, ...]) -> int:
    product = 1
    for axis in mesh_axes:
        product *= mesh.shape[axis]
    return product
