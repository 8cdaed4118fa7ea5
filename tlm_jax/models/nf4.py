"""Kernels in 4-bit NormalFloat: how a frozen base model is stored in a quarter of bfloat16.

Dettmers et al. 2023, "QLoRA" (arXiv 2305.14314), sections 2 and 3 and appendix E.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Integer

from tlm_jax.sharding.rules import LogicalAxes, constrain

CODE_BOOK = (
    -1.0,
    -0.6961928009986877,
    -0.5250730514526367,
    -0.39491748809814453,
    -0.28444138169288635,
    -0.18477343022823334,
    -0.09105003625154495,
    0.0,
    0.07958029955625534,
    0.16093020141124725,
    0.24611230194568634,
    0.33791524171829224,
    0.44070982933044434,
    0.5626170039176941,
    0.7229568362236023,
    1.0,
)
"""The 16 values of appendix E: quantiles of a normal distribution, scaled to [-1, 1]."""

BLOCK = 64
"""Inputs of one output that share a scale."""

_HALF = BLOCK // 2
_SCALE_GROUP = 256
_BOUNDARIES = tuple((low + high) / 2 for low, high in itertools.pairwise(CODE_BOOK))


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["codes", "scales", "offset", "steps"],
    meta_fields=["inputs"],
)
@dataclasses.dataclass(frozen=True)
class Nf4Kernel:
    """A kernel [in, out], or the stacked kernels [in, L, out] of a scan; a pytree.

    Blocks of 64 inputs of one output share the largest magnitude in them, as in bitsandbytes, whose
    rows are outputs; the last block is filled up with zeros. The first axis is there so that layers
    are axis 1, where stacked parameters have them, and one layer's codes are still contiguous.

    Attributes:
      codes: uint8 [1, (L,) blocks, 32, out], places in `CODE_BOOK`, two a byte: the low half has
        inputs 0 to 31 of the block, the high half 32 to 63. Fields are arrays, or what stands for
        arrays in a tree: shapes, shardings, logical axes.
      scales: [1, (L,) blocks, out], largest magnitude of each block; float32, or int8 where scales
        are quantised too.
      offset: float32 [1, (L)], mean of the kernel's scales, if they are quantised; else None.
      steps: float32 [1, (L,) blocks, groups], what one unit of an int8 scale is, one for each 256
        outputs (for all outputs, where 256 does not divide them).
      inputs: in.
    """

    codes: Any
    scales: Any
    offset: Any
    steps: Any
    inputs: int


def quantize(kernel: Float[Array, "I *L O"], *, double: bool = True) -> Nf4Kernel:
    """Returns the kernel in NF4: of each entry, divided by its block's scale, the nearest value.

    Args:
      kernel: [in, out], or [in, L, out].
      double: whether scales are stored in 8 bits ("double quantization", section 3): the paper has
        blocks of 256 scales in 8-bit floats, here they are 8-bit integers, relative to their mean.
    """
    if kernel.ndim == 3:
        # One layer at a time: there is no float32 copy of them all.
        stacked = jax.lax.map(
            lambda layer: quantize(
                jax.lax.dynamic_index_in_dim(kernel, layer, 1, keepdims=False), double=double
            ),
            jnp.arange(kernel.shape[1]),
        )
        return jax.tree.map(lambda x: jnp.moveaxis(x, 1, 0), stacked)  # [L, 1, ...] -> [1, L, ...]
    inputs, outputs = kernel.shape
    blocks = -(-inputs // BLOCK)
    filled = jnp.pad(kernel.astype(jnp.float32), ((0, blocks * BLOCK - inputs), (0, 0)))
    split = filled.reshape(1, blocks, BLOCK, outputs)
    scales = jnp.max(jnp.abs(split), axis=-2)
    normal = split / jnp.where(scales > 0, scales, 1.0)[..., None, :]
    # How many boundaries lie below. A sum over 15 comparisons fuses; a search does not.
    codes = jnp.zeros(split.shape, jnp.uint8)
    for boundary in _BOUNDARIES:
        codes += (normal > boundary).astype(jnp.uint8)
    packed = codes[..., :_HALF, :] | (codes[..., _HALF:, :] << 4)
    if not double:
        return Nf4Kernel(packed, scales, None, None, inputs)
    return Nf4Kernel(packed, *_quantized_scales(scales), inputs)


def dequantize(kernel: Nf4Kernel) -> Float[Array, "I *L O"]:
    """Returns the float32 kernel that `quantize` stands for."""
    codes = kernel.codes
    values = jnp.concatenate([_values(codes & 15), _values(codes >> 4)], axis=-2)
    entries = (values * _scales(kernel)[..., None, :])[0]
    # [(L,) blocks, 64, out] -> [in, (L,) out]
    entries = jnp.moveaxis(entries, (-3, -2), (0, 1))
    return entries.reshape(-1, *entries.shape[2:])[: kernel.inputs]


def product(rows: Float[Array, "R I"], kernel: Nf4Kernel, axes: LogicalAxes) -> Float[Array, "R O"]:
    """Returns `rows @ dequantize(kernel)` in the type of `rows`; no gradient for the kernel.

    The kernel is dequantised again in the backward pass, so that what a layer keeps for it are its
    codes. On a mesh codes are made whole along the inputs before, not 8 times as large values.

    Args:
      rows: one a token.
      kernel: of one layer.
      axes: logical axes of the kernel [in, out].
    """
    whole = dataclasses.replace(
        kernel,
        codes=constrain(kernel.codes, (None, None, None, axes[1])),
        scales=constrain(kernel.scales, (None, None, axes[1])),
    )
    return _product(rows, whole)


def nf4_axes(axes: LogicalAxes, *, double: bool = True, inputs: int = 0) -> Nf4Kernel:
    """Returns the logical axes of an NF4 kernel's arrays, in the place of the arrays.

    Args:
      axes: of the kernel, [in, out] or [in, layers, out].
      double: as given to `quantize`.
      inputs: in.
    """
    into, *layers, out = axes
    lead = (None, *layers)
    return Nf4Kernel(
        (*lead, into, None, out),
        (*lead, into, out),
        lead if double else None,
        (*lead, into, None) if double else None,
        inputs,
    )


@jax.custom_vjp
def _product(rows: jax.Array, kernel: Nf4Kernel) -> jax.Array:
    return rows @ dequantize(kernel).astype(rows.dtype)


def _product_forward(rows: jax.Array, kernel: Nf4Kernel) -> tuple[jax.Array, Nf4Kernel]:
    return _product(rows, kernel), kernel


def _product_backward(kernel: Nf4Kernel, cotangent: jax.Array) -> tuple[jax.Array, Any]:
    return cotangent @ dequantize(kernel).astype(cotangent.dtype).T, None


_product.defvjp(_product_forward, _product_backward)


def _values(codes: Integer[Array, "*shape"]) -> Float[Array, "*shape"]:
    return jnp.take(jnp.asarray(CODE_BOOK, jnp.float32), codes, mode="clip")


def _scales(kernel: Nf4Kernel) -> Float[Array, "1 *L blocks O"]:
    if kernel.steps is None or kernel.offset is None:
        return kernel.scales
    groups = kernel.steps.shape[-1]
    grouped = kernel.scales.reshape(*kernel.scales.shape[:-1], groups, -1)
    scales = grouped * kernel.steps[..., None] + kernel.offset[..., None, None, None]
    return scales.reshape(kernel.scales.shape)


def _quantized_scales(scales: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns int8 scales, their mean and their steps."""
    outputs = scales.shape[-1]
    groups = outputs // _SCALE_GROUP if outputs % _SCALE_GROUP == 0 else 1
    offset = jnp.mean(scales, axis=(-2, -1))
    centred = (scales - offset[..., None, None]).reshape(*scales.shape[:-1], groups, -1)
    steps = jnp.max(jnp.abs(centred), axis=-1) / 127
    units = jnp.round(centred / jnp.where(steps > 0, steps, 1.0)[..., None])
    return units.astype(jnp.int8).reshape(scales.shape), offset, steps
