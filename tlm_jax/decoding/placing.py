"""Prompts on the device, put where the rows that share them find them.

Q groups of rows have a prompt each. A group's prompt is copied there when its first sample begins;
the samples that follow it only forget what their row held.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from tlm_jax import models
from tlm_jax.decoding.prompts import Prompts
from tlm_jax.decoding.rows import Chosen, Rows, advance
from tlm_jax.decoding.samplers import RowSampling
from tlm_jax.models.cache import WINDOW, Slots
from tlm_jax.sharding.rules import constrain

_OF_PROMPT = ("prompt_key", "prompt_value", "cross_key", "cross_value")


class Room(NamedTuple):
    """How many slots the rows have.

    Attributes:
      prompt: for a prompt, in layers that see every token.
      window: for a prompt in layers with a window.
      generated: by name of `Cache.slots`, in the order of the names, for tokens after it.
      cross: for encoder outputs.
    """

    prompt: int
    window: int
    generated: tuple[tuple[str, int], ...]
    cross: int = 0

    def of_prompt(self, name: str) -> int:
        """Returns how many of a prompt's tokens the slots of that name keep."""
        return self.window if name == WINDOW else self.prompt


class Placing(NamedTuple):
    """Samples that begin: the first `number` entries of each array, one a row that is filled.

    Attributes:
      number: of samples.
      rows: where they go.
      sources: row of the prompts' cache.
      limit: the most tokens.
      sampling: settings.
      num_groups: how many groups get another prompt, the first entries of what follows.
      groups: which.
      group_sources: row of the prompts' cache.
    """

    number: Int[Array, ""]
    rows: Int[Array, " B"]
    sources: Int[Array, " B"]
    limit: Int[Array, " B"]
    sampling: RowSampling
    num_groups: Int[Array, ""]
    groups: Int[Array, " Q"]
    group_sources: Int[Array, " Q"]


def empty(prompts: Prompts, rows: int, groups: int, room: Room, names: tuple[str, ...]) -> Rows:
    """Returns rows that wait, in groups of the same size.

    Args:
      prompts: any; they tell the shape of a layer's cache.
      rows: B.
      groups: Q.
      room: numbers of slots.
      names: of each layer's slots.
    """
    generated = dict(room.generated)

    def zeros(like: jax.Array, first: int, length: int) -> jax.Array:
        array = jnp.zeros((first, like.shape[1], length, like.shape[3]), like.dtype)
        return constrain(array, ("batch", "kv_heads", "length", "kv"))

    def layer(of_prompts: models.LayerCache, name: str) -> models.LayerCache:
        key, cross = of_prompts.prompt_key, of_prompts.cross_key
        prompt = zeros(key, groups, room.of_prompt(name))
        own = zeros(key, rows, generated[name])
        encoded = None if cross is None else zeros(cross, groups, room.cross)
        return models.LayerCache(prompt, prompt, own, own, encoded, encoded)

    def integers(*shape: int) -> jax.Array:
        return jnp.zeros(shape, jnp.int32)

    cache = models.Cache(
        layers=tuple(layer(*pair) for pair in zip(prompts.cache.layers, names, strict=True)),
        slots={
            name: Slots(
                integers(groups, room.of_prompt(name)) > 0,
                integers(groups, room.of_prompt(name)),
                integers(rows, generated[name]) > 0,
                integers(rows, generated[name]),
                integers(),
            )
            for name in prompts.cache.slots
        },
        next_position=integers(rows),
        cross_mask=None if prompts.cache.cross_mask is None else integers(groups, room.cross) > 0,
    )
    ints, floats = integers(rows), jnp.zeros(rows, jnp.float32)
    sampling = RowSampling(
        floats, ints, floats + 1, floats, floats + 1, jnp.zeros((rows, 2), jnp.uint32)
    )
    return Rows(cache, ints, ints, ints, ints > 0, sampling, seen=None)


def place(
    state: Rows, prompts: Prompts, placing: Placing, eos_ids: tuple[int, ...], num_candidates: int
) -> tuple[Rows, Chosen]:
    """Starts samples in free rows: copies prompts into groups, draws the first tokens.

    The prompts' cache may have fewer prompt slots than the rows', not more.
    """
    rows = _targets(placing.rows, placing.number)

    def copy(old: jax.Array, new: jax.Array) -> jax.Array:
        return old.at[rows].set(new, mode="drop")

    def of_samples(array: jax.Array) -> jax.Array:
        return jnp.take(array, placing.sources, axis=0)

    cache = _with_prompts(state.cache, prompts.cache, placing)
    cache = cache._replace(
        # What the rows held is forgotten.
        slots={
            name: slots._replace(mask=slots.mask.at[rows].set(False, mode="drop"))
            for name, slots in cache.slots.items()
        },
        next_position=copy(cache.next_position, of_samples(prompts.cache.next_position)),
    )
    started = jnp.zeros_like(state.live).at[rows].set(True, mode="drop")
    state = state._replace(
        cache=cache,
        generated=copy(state.generated, jnp.zeros_like(state.generated)),
        limit=copy(state.limit, placing.limit),
        sampling=jax.tree.map(copy, state.sampling, placing.sampling),
        seen=None if state.seen is None else copy(state.seen, of_samples(prompts.seen)),
    )
    logits = jnp.zeros((len(started), prompts.logits.shape[-1]), jnp.float32)
    logits = copy(logits, of_samples(prompts.logits))
    advanced, chosen = advance(state, logits, started, eos_ids, num_candidates)
    return advanced._replace(live=jnp.where(started, advanced.live, state.live)), chosen


def resize(state: Rows, room: Room, names: tuple[str, ...]) -> Rows:
    """Returns the rows with as many slots as `room` says, none fewer than they have."""
    generated = dict(room.generated)

    def layer(layer: models.LayerCache, name: str) -> models.LayerCache:
        sizes = dict.fromkeys(("prompt_key", "prompt_value"), room.of_prompt(name))
        sizes |= dict.fromkeys(("key", "value"), generated[name])
        if layer.cross_key is not None:
            sizes |= dict.fromkeys(("cross_key", "cross_value"), room.cross)
        grown = {part: _padded(getattr(layer, part), 2, size) for part, size in sizes.items()}
        return layer._replace(**grown)

    def grow(name: str, slots: Slots) -> Slots:
        prompt, own = room.of_prompt(name), generated[name]
        return Slots(
            _padded(slots.prompt_mask, 1, prompt),
            _padded(slots.prompt_positions, 1, prompt),
            _padded(slots.mask, 1, own),
            _padded(slots.positions, 1, own),
            slots.next,
        )

    cache = state.cache
    cross_mask = cache.cross_mask
    return state._replace(
        cache=cache._replace(
            layers=tuple(layer(*pair) for pair in zip(cache.layers, names, strict=True)),
            slots={name: grow(name, slots) for name, slots in cache.slots.items()},
            cross_mask=None if cross_mask is None else _padded(cross_mask, 1, room.cross),
        )
    )


def _with_prompts(cache: models.Cache, prompts: models.Cache, placing: Placing) -> models.Cache:
    """Copies prompts into groups, one at a time and in place."""
    groups = _targets(placing.groups, placing.num_groups)

    def copy_rows(old: jax.Array, new: jax.Array) -> jax.Array:
        chosen = _padded(jnp.take(new, placing.group_sources, axis=0), 1, old.shape[1])
        return old.at[groups].set(chosen, mode="drop")

    def of_prompts(layers: tuple[models.LayerCache, ...]) -> list[dict[str, jax.Array]]:
        names = [name for name in _OF_PROMPT if getattr(layers[0], name) is not None]
        return [{name: getattr(layer, name) for name in names} for layer in layers]

    sources = of_prompts(prompts.layers)

    def copy(index: jax.Array, layers: list[dict[str, jax.Array]]) -> list[dict[str, jax.Array]]:
        def copied(array: jax.Array, source: jax.Array) -> jax.Array:
            part = jax.lax.dynamic_slice_in_dim(source, placing.group_sources[index], 1, 0)
            return jax.lax.dynamic_update_slice(array, part, (placing.groups[index], 0, 0, 0))

        return jax.tree.map(copied, layers, sources)

    layers = jax.lax.fori_loop(0, placing.num_groups, copy, of_prompts(cache.layers))
    cross_mask = cache.cross_mask
    if cross_mask is not None:
        assert prompts.cross_mask is not None
        cross_mask = copy_rows(cross_mask, prompts.cross_mask)
    return cache._replace(
        layers=tuple(layer._replace(**new) for layer, new in zip(cache.layers, layers)),
        slots={
            name: slots._replace(
                prompt_mask=copy_rows(slots.prompt_mask, prompts.slots[name].prompt_mask),
                prompt_positions=copy_rows(
                    slots.prompt_positions, prompts.slots[name].prompt_positions
                ),
            )
            for name, slots in cache.slots.items()
        },
        cross_mask=cross_mask,
    )


def _targets(places: Int[Array, " R"], number: Int[Array, ""]) -> Int[Array, " R"]:
    """Returns the places to fill; entries beyond `number` name one that does not exist."""
    size = places.shape[0]
    return jnp.where(jnp.arange(size) < number, places, size)


def _padded(array: jax.Array, axis: int, size: int) -> jax.Array:
    room = [(0, 0)] * array.ndim
    room[axis] = (0, size - array.shape[axis])
    return jnp.pad(array, room)
