"""Chooses tokens from logits, each row by its own settings and its own random numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key, UInt32

_BLOCK = 128
"""Tokens summed together when a cumulative probability is looked for."""


class RowSampling(NamedTuple):
    """The settings of each row; all are data, so that no combination compiles anew.

    Attributes:
      temperature: divides logits; 0 takes the most probable token.
      top_k: keeps the k most probable tokens; 0 keeps all.
      top_p: keeps the fewest most probable tokens whose mass reaches this share of what `top_k`
        left; 1 keeps all.
      min_p: keeps tokens with at least this share of the largest probability; 0 keeps all.
      repetition_penalty: see `penalized`; 1 changes nothing.
      seed: the upper and lower halves of each row's seed.
    """

    temperature: Float[Array, " B"]
    top_k: Int[Array, " B"]
    top_p: Float[Array, " B"]
    min_p: Float[Array, " B"]
    repetition_penalty: Float[Array, " B"]
    seed: UInt32[Array, "B 2"]


def choose(
    logits: Float[Array, "B V"], rows: RowSampling, positions: Int[Array, " B"]
) -> Int[Array, " B"]:
    """Returns each row's next token.

    The draw of a row is a function of its logits, its seed and its position alone: one number u,
    uniform in (0, 1), and the first token at which the cumulative probability passes u.

    Args:
      logits: float32, after `penalized`.
      rows: settings.
      positions: how many tokens the row has generated so far.
    """
    greedy = _most_probable(logits)

    def sample() -> jax.Array:
        uniform = jax.vmap(_uniform)(rows.seed, positions)
        drawn = _inverse_cdf(weights(logits, rows), uniform)
        return jnp.where(rows.temperature > 0, drawn, greedy)

    return jax.lax.cond(jnp.any(rows.temperature > 0), sample, lambda: greedy)


def weights(logits: Float[Array, "B V"], rows: RowSampling) -> Float[Array, "B V"]:
    """Returns the probabilities that `choose` draws from, times a constant of the row.

    Temperature first, then `top_k`, then `top_p` of the mass that `top_k` left, as transformers
    and vLLM have it, and `min_p`, whose limit follows from the most probable token alone. Tokens
    exactly as probable as the least one that is kept are kept too.
    """
    temperature = jnp.where(rows.temperature > 0, rows.temperature, 1.0)[:, None]
    relative = jnp.exp((logits - jnp.max(logits, axis=-1, keepdims=True)) / temperature)
    # Floats of one sign are ordered as their bits are.
    bits = jax.lax.bitcast_convert_type(relative, jnp.int32)

    def of_top_k() -> jax.Array:
        return _least_of_top(bits, jnp.where(rows.top_k > 0, rows.top_k, logits.shape[-1]))

    # Each takes 30 passes over V: none where no row asks for it.
    everything = jnp.zeros_like(rows.top_k)
    least_of_k = jax.lax.cond(jnp.any(rows.top_k > 0), of_top_k, lambda: everything)

    def of_top_p() -> jax.Array:
        left = jnp.where(bits >= least_of_k[:, None], relative, 0.0)
        mass = jnp.where(rows.top_p < 1, rows.top_p, 0.0) * jnp.sum(left, axis=-1)
        return _least_of_mass(bits, left, mass)

    least_of_p = jax.lax.cond(jnp.any(rows.top_p < 1), of_top_p, lambda: everything)
    least_bits = jnp.maximum(least_of_k, least_of_p)
    least = jnp.maximum(jax.lax.bitcast_convert_type(least_bits, jnp.float32), rows.min_p)
    return jnp.where(relative >= least[:, None], relative, 0.0)


def penalized(
    logits: Float[Array, "B V"], seen: Bool[Array, "B V"], penalty: Float[Array, " B"]
) -> Float[Array, "B V"]:
    """Divides positive logits of tokens seen before by `penalty`, and multiplies negative ones.

    Source: Keskar et al. 2019, with the sign as transformers has it.
    """
    factor = penalty[:, None]
    return jnp.where(seen, jnp.where(logits > 0, logits / factor, logits * factor), logits)


def seed_words(seeds: Sequence[int]) -> np.ndarray:
    """Returns seeds in [0, 2**64) as uint32 [B, 2], for `RowSampling.seed`."""
    values = np.asarray([int(seed) for seed in seeds], np.uint64)
    return np.stack([values >> np.uint64(32), values & np.uint64(0xFFFFFFFF)], axis=1).astype(
        np.uint32
    )


def _most_probable(logits: Float[Array, "B V"]) -> Int[Array, " B"]:
    """Returns the first of the most probable tokens.

    `jnp.argmax` compares pairs one by one on CPU, and takes six times as long.
    """
    V = logits.shape[-1]
    tied = logits == jnp.max(logits, axis=-1, keepdims=True)
    first = jnp.min(jnp.where(tied, jnp.arange(V, dtype=jnp.int32)[None], V), axis=-1)
    return jnp.minimum(first, V - 1)  # where there are no numbers at all


def _uniform(seed: UInt32[Array, "2"], position: Int[Array, ""]) -> Float[Array, ""]:
    key: Key[Array, ""] = jax.random.wrap_key_data(seed, impl="threefry2x32")
    return jax.random.uniform(jax.random.fold_in(key, position), minval=2.0**-24)


def _inverse_cdf(mass: Float[Array, "B V"], uniform: Float[Array, " B"]) -> Int[Array, " B"]:
    """Returns the first token at which the cumulative mass exceeds `uniform` of the whole.

    In two steps, blocks and then tokens of one block: a sum over V and two short cumulative ones.
    """
    B, V = mass.shape
    blocks = jnp.pad(mass, ((0, 0), (0, -V % _BLOCK))).reshape(B, -1, _BLOCK)
    ends = jnp.cumsum(jnp.sum(blocks, axis=-1), axis=-1)
    target = uniform[:, None] * ends[:, -1:]
    block = _first(ends > target)
    before = jnp.where(block[:, None] > 0, _entry(ends, jnp.maximum(block - 1, 0)), 0.0)
    inside = jnp.take_along_axis(blocks, block[:, None, None], axis=1)[:, 0]
    passed = (before + jnp.cumsum(inside, axis=-1) > target) & (inside > 0)
    # Rounding can leave no token past the target: then it is the block's last with any mass.
    last = _BLOCK - 1 - _first((inside > 0)[:, ::-1])
    place = jnp.where(jnp.any(passed, axis=-1), _first(passed), last)
    return block * _BLOCK + place


def _least_of_top(bits: Int[Array, "B V"], count: Int[Array, " B"]) -> Int[Array, " B"]:
    """Returns the largest number that at least `count` entries of a row reach."""
    return _largest(bits, lambda reach: jnp.sum(reach, axis=-1) >= count)


def _least_of_mass(
    bits: Int[Array, "B V"], mass: Float[Array, "B V"], wanted: Float[Array, " B"]
) -> Int[Array, " B"]:
    """Returns the largest number such that the entries that reach it have the mass wanted."""
    found = _largest(bits, lambda reach: jnp.sum(jnp.where(reach, mass, 0.0), axis=-1) >= wanted)
    return jnp.where(wanted > 0, found, 0)


def _largest(bits: Int[Array, "B V"], enough) -> Int[Array, " B"]:
    """Returns the largest limit in [0, 2**30) for which `enough(bits >= limit)`, by bisection.

    All entries are bits of floats in [0, 1]; 30 passes over V, where sorting it would take longer.
    """

    def halve(index: jax.Array, found: jax.Array) -> jax.Array:
        tried = found | (1 << (29 - index))
        return jnp.where(enough(bits >= tried[:, None]), tried, found)

    return jax.lax.fori_loop(0, 30, halve, jnp.zeros(bits.shape[0], jnp.int32))


def _first(flags: Bool[Array, "B R"]) -> Int[Array, " B"]:
    return jnp.argmax(flags, axis=-1).astype(jnp.int32)


def _entry(values: Float[Array, "B R"], index: Int[Array, " B"]) -> Float[Array, "B 1"]:
    return jnp.take_along_axis(values, index[:, None], axis=-1)
