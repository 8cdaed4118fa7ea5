"""Adafactor as T5X runs it, told by logical axes which dimensions to factor.

`optax.adafactor` factors the two largest dimensions of an array, so that in a stack of layers it
can take the layers for data; here `layers` only ever separates one matrix from the next.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from tlm_jax import trees
from tlm_jax.models.factoring import FACTOR_RULES, FactorRules, MatrixDims, factored_dims
from tlm_jax.optim.schedules import Schedule
from tlm_jax.types import Params

Slots = dict[str, Array]
"""Of one parameter: `v`, or `v_row` and `v_col` where it is factored; `m` where beta1 is given."""


class AdafactorState(NamedTuple):
    """Number of updates so far, and the parameters' tree with `Slots` for leaves."""

    step: Int[Array, ""]
    slots: Any


def adafactor(
    learning_rate: Schedule,
    logical_axes: Any,
    *,
    decay_rate: float = 0.8,
    step_offset: int = 0,
    multiply_by_parameter_scale: bool = True,
    clipping_threshold: float | None = 1.0,
    beta1: float | None = None,
    min_dim_size_to_factor: int = 128,
    epsilon_gradient: float = 1e-30,
    epsilon_scale: float = 1e-3,
    rules: FactorRules = FACTOR_RULES,
) -> optax.GradientTransformation:
    """Returns Adafactor (Shazeer & Stern 2018) for parameters with these logical axes.

    At 0-based step i, with d = 1 - (i - step_offset + 1) ** -decay_rate and gradient g:

        v <- d v + (1 - d) (g^2 + epsilon_gradient), or its means over the columns (v_row) and over
             the rows (v_col), v being v_row v_col / mean(v_row)
        u = g / sqrt(v);  u <- u / max(1, rms(u) / clipping_threshold)
        update = -learning_rate(i) * max(rms(parameter), epsilon_scale) * u

    `rms` is over one matrix: all dimensions but `layers`. Statistics are float32.

    Args:
      learning_rate: relative to the parameter's scale where `multiply_by_parameter_scale`.
      logical_axes: the parameters' tree with a tuple of axis names for leaves.
      decay_rate: how fast the second moment's memory grows.
      step_offset: the step at which fine-tuning began, to start the second moment afresh.
      multiply_by_parameter_scale: whether steps are proportional to the parameter's rms.
      clipping_threshold: largest rms of u; None does not clip.
      beta1: decay of a running mean of the updates; None keeps none.
      min_dim_size_to_factor: matrices (of rank 2, unstacked) with a smaller side keep v whole.
      epsilon_gradient: keeps v above 0 where gradients are 0.
      epsilon_scale: the least parameter scale, so that zeros can leave zero.
      rules: what each logical axis is; see `factoring.FACTOR_RULES`.

    Source: t5x.adafactor.Adafactor, whose numbers it reproduces.
    """
    axes_of = trees.flatten(logical_axes)

    def dims_of(name: str, array: Array) -> MatrixDims:
        return factored_dims(name, array.shape, axes_of[name], min_dim_size_to_factor, rules)

    def init(params: Params) -> AdafactorState:
        def slots_of(name: str, param: Array) -> Slots:
            shapes = slot_shapes(param.shape, dims_of(name, param))
            if beta1 is not None:
                shapes["m"] = param.shape
            return {slot: jnp.zeros(shape, jnp.float32) for slot, shape in shapes.items()}

        return AdafactorState(jnp.zeros((), jnp.int32), trees.map_named(slots_of, params))

    def update_one(gradient: Array, param: Array, slots: Slots, dims: MatrixDims, rate, decay):
        matrix = tuple(dim for dim in range(param.ndim) if dim not in dims.batch)
        step, new_slots = _precondition(gradient, slots, dims, decay, epsilon_gradient)
        if clipping_threshold is not None:
            step /= jnp.maximum(1.0, _rms(step, matrix) / clipping_threshold)
        if multiply_by_parameter_scale:
            rate *= jnp.maximum(_rms(param, matrix), epsilon_scale)
        step *= rate
        if beta1 is not None:
            step = beta1 * slots["m"] + (1.0 - beta1) * step
            new_slots["m"] = step
        return -step, new_slots

    def update(updates: Params, state: Any, params: Params | None = None):
        if params is None:
            raise ValueError("Adafactor scales its updates by the parameters: pass params")
        params_of, slots_of = trees.flatten(params), _slots_by_name(state.slots, axes_of)
        age = (state.step - step_offset).astype(jnp.float32) + 1.0
        rate, decay = learning_rate(state.step), 1.0 - age**-decay_rate
        new_updates, new_slots = {}, {}
        for name, gradient in trees.flatten(updates).items():
            step, new_slots[name] = update_one(
                gradient.astype(jnp.float32),
                params_of[name].astype(jnp.float32),
                slots_of[name],
                dims_of(name, gradient),
                rate,
                decay,
            )
            new_updates[name] = step.astype(gradient.dtype)
        new_state = AdafactorState(state.step + 1, trees.unflatten(new_slots))
        return trees.unflatten(new_updates), new_state

    return optax.GradientTransformation(init, update)


def slot_shapes(shape: tuple[int, ...], dims: MatrixDims) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of the second-moment slots of a parameter."""
    return {slot: tuple(shape[dim] for dim in kept) for slot, kept in _kept(len(shape), dims)}


def slot_axes(axes: tuple[str | None, ...], dims: MatrixDims) -> dict[str, tuple[str | None, ...]]:
    """Returns the logical axes of all slots of a parameter."""
    second_moment = {
        slot: tuple(axes[dim] for dim in kept) for slot, kept in _kept(len(axes), dims)
    }
    return second_moment | {"m": axes}


def _kept(rank: int, dims: MatrixDims) -> list[tuple[str, tuple[int, ...]]]:
    """Returns which dimensions of the parameter each second-moment slot has."""
    if not dims.rows:
        return [("v", tuple(range(rank)))]
    return [
        ("v_row", tuple(dim for dim in range(rank) if dim not in dims.columns)),
        ("v_col", tuple(dim for dim in range(rank) if dim not in dims.rows)),
    ]


def _precondition(
    gradient: Float[Array, "..."],
    slots: Slots,
    dims: MatrixDims,
    decay: Float[Array, ""],
    epsilon: float,
) -> tuple[Float[Array, "..."], Slots]:
    """Returns the gradient over the root of the new second moment, and the latter's slots."""
    squared = jnp.square(gradient) + epsilon
    if not dims.rows:
        v = decay * slots["v"] + (1.0 - decay) * squared
        return gradient * jax.lax.rsqrt(v), {"v": v}
    v_row = decay * slots["v_row"] + (1.0 - decay) * _mean(squared, dims.columns)
    v_col = decay * slots["v_col"] + (1.0 - decay) * _mean(squared, dims.rows)
    row, column = jnp.expand_dims(v_row, dims.columns), jnp.expand_dims(v_col, dims.rows)
    row /= jnp.mean(row, axis=dims.rows, keepdims=True)
    return gradient * jax.lax.rsqrt(row) * jax.lax.rsqrt(column), {"v_row": v_row, "v_col": v_col}


def _mean(x: Float[Array, "..."], dims: tuple[int, ...]) -> Float[Array, "..."]:
    """Returns the mean over `dims`.

    For the rows of a plain matrix it is written as a product: XLA's sum over the rows of a wide
    matrix, such as [D, V], takes many times as long on CPU.
    """
    if x.ndim == 2 and dims == (0,):
        weights = jnp.full(x.shape[0], 1.0 / x.shape[0], x.dtype)
        return jnp.einsum("r,rc->c", weights, x, precision=jax.lax.Precision.HIGHEST)
    return jnp.mean(x, axis=dims)


def _rms(x: Float[Array, "..."], dims: tuple[int, ...]) -> Float[Array, "..."]:
    return jnp.sqrt(jnp.mean(jnp.square(x), axis=dims, keepdims=True))


def _slots_by_name(tree: Any, names: dict[str, Any]) -> dict[str, Slots]:
    slots: dict[str, Slots] = {name: {} for name in names}
    for path, array in trees.flatten(tree).items():
        name, slot = path.rsplit("/", 1)
        slots[name][slot] = array
    return slots
