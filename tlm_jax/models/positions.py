"""Positions in attention: relative buckets, ALiBi and rotation."""

from __future__ import annotations

import math

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int

from tlm_jax.models.projections import parameter
from tlm_jax.models.specs import RelativeSpec, RotaryScaling, RotarySpec


class RelativeBias(nn.Module):
    """T5's bias of attention logits by head and bucket of key position − query position.

    Parameter: `rel_embedding` [N, buckets], uniform with variance 2 / (N + buckets).
    """

    spec: RelativeSpec
    num_heads: int

    def setup(self) -> None:
        init = nn.initializers.variance_scaling(1.0, "fan_avg", "uniform")
        shape = (self.num_heads, self.spec.num_buckets)
        self.rel_embedding = parameter(
            self, "rel_embedding", init, shape, ("heads", "relpos_buckets")
        )

    def full(self, length: int) -> Float[Array, "1 N T T"]:
        """Returns the bias of every row against every row, by their offsets in the sequence."""
        buckets = relative_buckets(np.arange(1 - length, length), self.spec)
        return toeplitz(jnp.take(self.rel_embedding, buckets, axis=1), length)[None]

    def at(self, offsets: Int[Array, "B T S"]) -> Float[Array, "B N T S"]:
        """Returns the bias of every query and key; offsets are key position − query position."""
        limit = self.spec.max_distance
        table = relative_buckets(np.arange(-limit, limit + 1), self.spec)
        buckets = jnp.take(jnp.asarray(table), jnp.clip(offsets, -limit, limit) + limit)
        return jnp.einsum("nbts->bnts", jnp.take(self.rel_embedding, buckets, axis=1))


class AlibiBias:
    """ALiBi: `slope_n · (key position − query position)`, without parameters.

    Slopes as published (Press et al. 2022): a geometric sequence from 2^(−8/N); for N that is no
    power of two, those of the power below, then every other one of twice that.
    """

    def __init__(self, num_heads: int) -> None:
        self.slopes = alibi_slopes(num_heads)

    def full(self, length: int) -> Float[Array, "1 N T T"]:
        """Returns the bias of every row against every row, by their offsets in the sequence."""
        offsets = np.arange(1 - length, length, dtype=np.float32)
        return toeplitz(jnp.asarray(self.slopes[:, None] * offsets[None]), length)[None]

    def at(self, offsets: Int[Array, "B T S"]) -> Float[Array, "B N T S"]:
        """Returns the bias of every query and key; offsets are key position − query position."""
        slopes = jnp.asarray(self.slopes)
        return jnp.einsum("n,bts->bnts", slopes, offsets.astype(jnp.float32))


def relative_buckets(offsets: Int[np.ndarray, " R"], spec: RelativeSpec) -> Int[np.ndarray, " R"]:
    """Returns T5's bucket of each key position − query position.

    Half of a direction's buckets hold one distance each; the others grow logarithmically up to
    `max_distance`, beyond which all distances share the last. One-directional: keys after the
    query share bucket 0 (they are masked anyway).

    Source: Raffel et al. 2020, §2.1; the float32 logarithm as in T5X, so that buckets at the
    borders agree.
    """
    buckets = spec.num_buckets
    if spec.bidirectional:
        buckets //= 2
        start = np.where(offsets > 0, buckets, 0)
        distance = np.abs(offsets)
    else:
        start = np.zeros_like(offsets)
        distance = np.maximum(-offsets, 0)
    exact = buckets // 2
    ratio = distance.astype(np.float32) / exact + np.finfo(np.float32).eps
    log_steps = np.log(ratio) / np.log(spec.max_distance / exact) * (buckets - exact)
    far = np.minimum(exact + log_steps.astype(np.int32), buckets - 1)
    return (start + np.where(distance < exact, distance, far)).astype(np.int32)


def toeplitz(values: Float[Array, "N R"], length: int) -> Float[Array, "N T T"]:
    """Returns `out[n, t, s] = values[n, s − t + length − 1]`, for R = 2·length − 1.

    Laying the row out `length` times in rows one element too long shifts it by one a row. Unlike
    an indexed lookup of all T² entries, this and its gradient are copies and one sum.
    """
    num_heads, width = values.shape
    rows = jnp.broadcast_to(
        jnp.pad(values, ((0, 0), (0, 1)))[:, None], (num_heads, length, width + 1)
    )
    shifted = rows.reshape(num_heads, length * (width + 1))[:, : length * width]
    return shifted.reshape(num_heads, length, width)[:, :, length - 1 :]


def alibi_slopes(num_heads: int) -> Float[np.ndarray, " N"]:
    """Returns ALiBi's slope of each head; see `AlibiBias`."""
    power = 2 ** math.floor(math.log2(num_heads))
    slopes = 2.0 ** (-8.0 / power * np.arange(1, power + 1))
    between = 2.0 ** (-4.0 / power * np.arange(1, 2 * (num_heads - power), 2))
    return np.concatenate([slopes, between]).astype(np.float32)


def rotary_frequencies(
    dim: int, base: float, scaling: RotaryScaling | None = None
) -> Float[np.ndarray, " R"]:
    """Returns the radians by which each of the dim / 2 pairs turns from a position to the next.

    `base^(−2i/dim)`, slowed down by `scaling`; see `RotaryScaling`.
    """
    frequencies = base ** (-np.arange(dim // 2) / (dim // 2))
    if scaling is not None:
        slow = frequencies / scaling.factor
        if scaling.kind == "linear":
            frequencies = slow
        else:
            turns = scaling.original_max_positions * frequencies / (2 * np.pi)
            low, high = scaling.low_freq_factor, scaling.high_freq_factor
            kept = np.clip((turns - low) / (high - low), 0, 1)
            frequencies = kept * frequencies + (1 - kept) * slow
    return frequencies.astype(np.float32)


def rotate(
    x: Float[Array, "B T N H"],
    positions: Int[Array, "B T"],
    spec: RotarySpec,
    windowed: Bool[Array, ""] | None = None,
) -> Float[Array, "B T N H"]:
    """Rotates pair i of the first `spec.dim` dimensions of each head by position · frequency i.

    Computed in float32, returned in the type of `x`. Source: Su et al. 2021, eq. 34.

    Args:
      x: heads.
      positions: of each token.
      spec: which dimensions, how fast.
      windowed: whether the layer has a window, for which `spec` may have another base.
    """
    half = spec.dim // 2
    frequencies = jnp.asarray(rotary_frequencies(spec.dim, spec.base, spec.scaling))
    if spec.windowed_base is not None and windowed is not None:
        of_window = rotary_frequencies(spec.dim, spec.windowed_base)
        frequencies = jnp.where(windowed, of_window, frequencies)
    angles = jnp.einsum("bt,f->btf", positions.astype(jnp.float32), frequencies)[:, :, None]
    cos, sin = jnp.cos(angles), jnp.sin(angles)
    turned, rest = x[..., : spec.dim].astype(jnp.float32), x[..., spec.dim :]
    if spec.interleaved:
        pairs = turned.reshape(*x.shape[:-1], half, 2)
        first, second = pairs[..., 0], pairs[..., 1]
    else:
        first, second = turned[..., :half], turned[..., half:]
    rotated = (first * cos - second * sin, second * cos + first * sin)
    joined = (
        jnp.stack(rotated, axis=-1).reshape(turned.shape)
        if spec.interleaved
        else jnp.concatenate(rotated, axis=-1)
    )
    return jnp.concatenate([joined.astype(x.dtype), rest], axis=-1)
