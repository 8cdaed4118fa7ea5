"""The state that training carries from step to step, its initial value and its sharding."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int, PyTree, UInt32

from tlm_jax.types import Params


class TrainState(NamedTuple):
    """Everything a step reads and writes; a pytree.

    Attributes:
      step: number of steps taken.
      params: float32 parameters; where a part of the model is frozen, those that are trained.
      opt_state: the optimizer's slots.
      rng: the run's raw key data. Step n draws from `fold_in(rng, n)`, so the state of the random
        numbers is the step, and resuming needs nothing more.
    """

    step: Int[Array, ""]
    params: Params
    opt_state: PyTree
    rng: UInt32[Array, "2"]


def initial_state(
    init_params: Callable[[jax.Array], Params],
    optimizer: optax.GradientTransformation,
    seed: int,
) -> TrainState:
    """Returns the state before the first step. Jit it with out-shardings to create it sharded."""
    rng = jax.random.PRNGKey(seed)
    params = init_params(jax.random.fold_in(rng, 0xC0FFEE))
    return TrainState(jnp.zeros((), jnp.int32), params, optimizer.init(params), rng)


def step_rng(state: TrainState) -> jax.Array:
    """Returns the key from which the coming step draws dropout masks."""
    return jax.random.fold_in(state.rng, state.step)
