"""RMS and layer normalisation over the model width."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from tlm_jax.models.projections import parameter
from tlm_jax.models.specs import NormSpec


class Norm(nn.Module):
    """Normalises the last axis, and scales it, in the type in which its source does.

    "rms": `x / √(mean(x²) + ε) · scale`, normalised in float32 and scaled in `dtype`, as in T5X, T5
    and LLaMA. With an offset (Gemma's 1), `x / √(mean(x²) + ε) · (offset + scale)`, and "layer",
    `(x − mean) / √(var + ε) · (offset + scale) (+ bias)`, are float32 throughout, as transformers'
    Gemma and PyTorch's layer norm: in bfloat16, 1 + w would lose most of a small w.

    Parameters: `scale`, 1 − offset; `bias`, zeros.
    """

    spec: NormSpec
    dtype: str = "float32"
    axis_name: str = "embed"

    @nn.compact
    def __call__(self, x: Float[Array, "*batch D"]) -> Float[Array, "*batch D"]:
        broadcast = (1,) * (x.ndim - 1) + (-1,)
        y = x.astype(jnp.float32)
        if self.spec.kind == "layer":
            y -= jnp.mean(y, axis=-1, keepdims=True)
        mean_square = jnp.mean(jax.lax.square(y), axis=-1, keepdims=True)
        y = y * jax.lax.rsqrt(mean_square + self.spec.epsilon)
        if self.spec.kind == "rms" and not self.spec.scale_offset:
            y = y.astype(self.dtype)
        shape, axes = (x.shape[-1],), (self.axis_name,)
        offset = self.spec.scale_offset
        scale = parameter(self, "scale", nn.initializers.constant(1 - offset), shape, axes)
        if offset:
            scale += offset
        y *= scale.astype(y.dtype).reshape(broadcast)
        if self.spec.use_bias:
            bias = parameter(self, "bias", nn.initializers.zeros, shape, axes)
            y += bias.astype(y.dtype).reshape(broadcast)
        return y.astype(self.dtype)
