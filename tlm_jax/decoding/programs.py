"""The decoding engine's compiled programs, and their arguments made from what the host knows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from tlm_jax import models
from tlm_jax.decoding import rows as device
from tlm_jax.decoding.running import Running
from tlm_jax.decoding.samplers import RowSampling, seed_words
from tlm_jax.types import Params


class Programs:
    """The compiled programs; rows are given up to those that return them."""

    def __init__(
        self,
        config: models.ModelConfig,
        eos_ids: tuple[int, ...],
        num_candidates: int,
        most_steps: int,
    ):
        def read_prompts(params: Params, batch: dict[str, jax.Array]) -> device.Prompts:
            return device.read_prompts(params, batch, config)

        def place(state: device.Rows, prompts: device.Prompts, placing: device.Placing) -> Any:
            return device.place(state, prompts, placing, eos_ids, num_candidates)

        def steps(
            params: Params, state: device.Rows, first: Any, number: Any, fewest_live: Any
        ) -> Any:
            return device.steps(
                params,
                state,
                jnp.asarray(first, jnp.int32),
                jnp.asarray(number, jnp.int32),
                jnp.asarray(fewest_live, jnp.int32),
                config,
                eos_ids,
                num_candidates,
                most_steps,
            )

        # Functions of their own: JAX keeps programs by function, and counts those of all engines.
        def empty(prompts: device.Prompts, rows: int, room: int) -> device.Rows:
            return device.empty(prompts, rows, room)

        def resize(state: device.Rows, old: device.Slots, new: device.Slots) -> device.Rows:
            return device.resize(state, old, new)

        self.read_prompts = jax.jit(read_prompts)
        self.empty = jax.jit(empty, static_argnums=(1, 2))
        self.place = jax.jit(place, donate_argnums=0)
        self.steps = jax.jit(steps, donate_argnums=1)
        self.resize = jax.jit(resize, static_argnums=(1, 2))

    def compiled(self) -> int:
        """Returns how many programs there are so far."""
        jitted: tuple[Any, ...] = (
            self.read_prompts,
            self.empty,
            self.place,
            self.steps,
            self.resize,
        )
        return sum(function._cache_size() for function in jitted)


def placing(begun: Sequence[tuple[int, int, Running]], size: int) -> device.Placing:
    """Returns what `rows.place` needs.

    Args:
      begun: row, source row among the prompts, and sample, of each.
      size: the number of rows.
    """
    padded = [*begun, *[begun[0]] * (size - len(begun))]
    settings = [running.request.sampling for _, _, running in padded]

    def column(name: str, kind: Any) -> jax.Array:
        return jnp.asarray([getattr(setting, name) for setting in settings], kind)

    return device.Placing(
        number=jnp.asarray(len(begun), jnp.int32),
        rows=jnp.asarray([row for row, _, _ in padded], jnp.int32),
        sources=jnp.asarray([source for _, source, _ in padded], jnp.int32),
        limit=column("max_new_tokens", jnp.int32),
        sampling=RowSampling(
            temperature=column("temperature", jnp.float32),
            top_k=column("top_k", jnp.int32),
            top_p=column("top_p", jnp.float32),
            min_p=column("min_p", jnp.float32),
            repetition_penalty=column("repetition_penalty", jnp.float32),
            seed=jnp.asarray(seed_words([running.seed for _, _, running in padded])),
        ),
    )
