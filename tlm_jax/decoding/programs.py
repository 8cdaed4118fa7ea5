"""The decoding engine's compiled programs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from tlm_jax import models
from tlm_jax.decoding import placing, prompts, rows
from tlm_jax.decoding.prompts import PromptPrefix, Prompts
from tlm_jax.decoding.rows import Rows
from tlm_jax.models.cache import layer_slots
from tlm_jax.types import Batch, Params


class Programs:
    """The compiled programs; rows are given up to those that return them.

    Args:
      config: the model; its layers are stacked or not, the programs have each on its own.

    Attributes:
      rows: how many there are.
      most_steps: of a call.
      slots: names of each layer's, as `layer_slots` has them.
    """

    def __init__(
        self,
        config: models.ModelConfig,
        eos_ids: tuple[int, ...],
        num_candidates: int,
        most_steps: int,
        num_rows: int,
    ):
        stacked = config
        config = dataclasses.replace(config, scan_layers=False)
        self.rows, self.most_steps, self.slots = num_rows, most_steps, layer_slots(config)
        names = self.slots

        def read_prefix(params: Params, batch: Batch) -> PromptPrefix:
            return prompts.read_prefix(params, batch, config)

        def read_prompts(params: Params, batch: Batch, before: PromptPrefix | None) -> Prompts:
            return prompts.read_prompts(params, batch, config, before)

        def place(state: Rows, made: Prompts, where: placing.Placing) -> Any:
            return placing.place(state, made, where, eos_ids, num_candidates)

        def steps(
            params: Params,
            state: Rows,
            before: PromptPrefix | None,
            first: Mapping[str, Any],
            number: Any,
            fewest_live: Any,
        ) -> Any:
            return rows.steps(
                params,
                state,
                {name: jnp.asarray(slot, jnp.int32) for name, slot in first.items()},
                jnp.asarray(number, jnp.int32),
                jnp.asarray(fewest_live, jnp.int32),
                config,
                eos_ids,
                num_candidates,
                most_steps,
                None if before is None else before.prefix,
            )

        def unroll(params: Params) -> Params:
            return models.unroll_layers(params, stacked)[0]

        # Functions of their own: JAX keeps programs by function, and counts those of all engines.
        def empty(made: Prompts, groups: int, room: placing.Room) -> Rows:
            return placing.empty(made, num_rows, groups, room, names)

        def resize(state: Rows, room: placing.Room) -> Rows:
            return placing.resize(state, room, names)

        self.unroll = jax.jit(unroll)
        self.read_prefix = jax.jit(read_prefix)
        self.read_prompts = jax.jit(read_prompts)
        self.empty = jax.jit(empty, static_argnums=(1, 2))
        self.place = jax.jit(place, donate_argnums=0)
        self.steps = jax.jit(steps, donate_argnums=1)
        self.resize = jax.jit(resize, static_argnums=1)

    def compiled(self) -> int:
        """Returns how many programs there are so far."""
        jitted: tuple[Any, ...] = (
            self.read_prefix,
            self.read_prompts,
            self.empty,
            self.place,
            self.steps,
            self.resize,
        )
        return sum(function._cache_size() for function in jitted)
