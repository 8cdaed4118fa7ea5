"""Linear maps and embedding tables, with T5X's parameter names, axes and initial values."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int

from tlm_jax.sharding.rules import LogicalAxes, constrain

FAN_IN_NORMAL = nn.initializers.variance_scaling(1.0, "fan_in", "normal")
"""T5X's attention kernels: variance 1 / (size of the input)."""

FAN_IN_TRUNCATED = nn.initializers.variance_scaling(1.0, "fan_in", "truncated_normal")
"""T5X's MLP and logits kernels: the same variance, cut at two standard deviations."""


class Projection(nn.Module):
    """`x @ kernel (+ bias)` over the last axis, in `dtype`.

    Parameters: `kernel` [in, features], drawn from `kernel_init`; `bias` [features], zeros.
    """

    features: int
    axes: LogicalAxes
    use_bias: bool = False
    dtype: str = "float32"
    kernel_init: nn.initializers.Initializer = FAN_IN_TRUNCATED

    @nn.compact
    def __call__(self, x: Float[Array, "*batch I"]) -> Float[Array, "*batch O"]:
        kernel = parameter(
            self, "kernel", self.kernel_init, (x.shape[-1], self.features), self.axes
        )
        # A plain matrix product: with leading dimensions XLA on CPU transposes the gradient of the
        # activations on the way to that of the kernel, which costs a fifth of a T5 step.
        rows = x.reshape(-1, x.shape[-1]).astype(self.dtype)
        y = (rows @ kernel.astype(self.dtype)).reshape(*x.shape[:-1], self.features)
        if self.use_bias:
            bias = parameter(self, "bias", nn.initializers.zeros, (self.features,), self.axes[1:])
            y += bias.astype(self.dtype).reshape((1,) * (y.ndim - 1) + (-1,))
        return y


class Embedder(nn.Module):
    """A table of vectors, looked up by id; an id beyond the table gives NaN.

    Parameter: `embedding` [rows, D], normal with standard deviation `stddev` (T5X: 1).
    """

    rows: int
    features: int
    axes: tuple[str, str] = ("vocab", "embed")
    stddev: float = 1.0
    dtype: str = "float32"

    @nn.compact
    def __call__(self, ids: Int[Array, "B T"]) -> Float[Array, "B T D"]:
        init = nn.initializers.normal(self.stddev)
        embedding = parameter(self, "embedding", init, (self.rows, self.features), self.axes)
        # Whole rows before the lookup: rows split over D would be looked up for all of the batch
        # on every device, and only then exchanged for whole rows of its own part.
        embedding = constrain(embedding, self.axes)
        return jnp.take(embedding, ids, axis=0).astype(self.dtype)


class LogitsDense(nn.Module):
    """Declares the matrix `kernel` [D, V] of untied logits, which `unembedding` reads.

    Parameters: `kernel` as T5X's MLP kernels; `bias` [V], zeros.
    """

    features: int
    use_kernel: bool = True
    use_bias: bool = False

    @nn.compact
    def __call__(self, embed_dim: int) -> None:
        if self.use_kernel:
            shape = (embed_dim, self.features)
            parameter(self, "kernel", FAN_IN_TRUNCATED, shape, ("embed", "vocab"))
        if self.use_bias:
            parameter(self, "bias", nn.initializers.zeros, (self.features,), ("vocab",))


def parameter(
    module: nn.Module,
    name: str,
    init: nn.initializers.Initializer,
    shape: tuple[int, ...],
    axes: LogicalAxes,
) -> jax.Array:
    """Declares a float32 parameter of a module, with its logical axes."""
    boxed = nn.with_logical_partitioning(init, axes)
    return jnp.asarray(module.param(name, boxed, shape, jnp.float32))
