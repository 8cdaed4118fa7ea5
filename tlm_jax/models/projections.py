"""Linear maps and embedding tables, with T5X's parameter names, axes and initial values."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int

from tlm_jax.models.nf4 import Nf4Kernel, product
from tlm_jax.models.tiled import TiledKernel
from tlm_jax.sharding.rules import LogicalAxes, constrain

FAN_IN_NORMAL = nn.initializers.variance_scaling(1.0, "fan_in", "normal")
"""T5X's attention kernels: variance 1 / (size of the input)."""

FAN_IN_TRUNCATED = nn.initializers.variance_scaling(1.0, "fan_in", "truncated_normal")
"""T5X's MLP and logits kernels: the same variance, cut at two standard deviations."""

ADAPTER = "adapter"
"""Where a projection that is adapted has its `LowRank`, beside `kernel` and `bias`."""


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["a", "b"],
    meta_fields=["scale", "dropout_rate"],
)
@dataclasses.dataclass(frozen=True)
class LowRank:
    """A low-rank adapter, `scale · (x A) B`, or those of a scan's layers; a pytree.

    Attributes:
      a: [in, (L,) r].
      b: [r, (L,) out].
      scale: see `LoraConfig`.
      dropout_rate: of its input when training; each entry of x is dropped by itself.
    """

    a: Any  # not always arrays: trees of shapes and shardings have the same nodes
    b: Any
    scale: float
    dropout_rate: float

    def __call__(
        self, rows: Float[Array, "R I"], dropout_rng: jax.Array | None
    ) -> Float[Array, "R O"]:
        """Returns what is added to the projection of `rows`; without a key nothing is dropped."""
        if dropout_rng is not None:
            keep = 1.0 - self.dropout_rate
            kept = jax.random.bernoulli(dropout_rng, keep, rows.shape)
            rows = jnp.where(kept, rows / keep, 0).astype(rows.dtype)
        # Scaled while it is narrow: r numbers a row.
        narrow = (rows @ self.a.astype(rows.dtype)) * self.scale
        return narrow @ self.b.astype(rows.dtype)


class Projection(nn.Module):
    """`x @ kernel (+ bias)` over the last axis, in `dtype`.

    Parameters: `kernel` [in, features], drawn from `kernel_init`; `bias` [features], zeros.
    Applied, it also takes an `Nf4Kernel` or a `TiledKernel` as `kernel`, and a `LowRank` as
    `adapter` (`models.lora`).
    """

    features: int
    axes: LogicalAxes
    use_bias: bool = False
    dtype: str = "float32"
    kernel_init: nn.initializers.Initializer = FAN_IN_TRUNCATED

    @nn.compact
    def __call__(self, x: Float[Array, "*batch I"]) -> Float[Array, "*batch O"]:
        # A plain matrix product: with leading dimensions XLA on CPU transposes the gradient of the
        # activations on the way to that of the kernel, which costs a fifth of a T5 step.
        rows = x.reshape(-1, x.shape[-1]).astype(self.dtype)
        y = self._kernel_product(rows)
        if self.has_variable("params", ADAPTER):
            y += self._adapted(rows)
        y = y.reshape(*x.shape[:-1], self.features)
        if self.use_bias:
            bias = parameter(self, "bias", nn.initializers.zeros, (self.features,), self.axes[1:])
            y += bias.astype(self.dtype).reshape((1,) * (y.ndim - 1) + (-1,))
        return y

    def _kernel_product(self, rows: jax.Array) -> jax.Array:
        kernel = self.variables.get("params", {}).get("kernel")
        if isinstance(kernel, Nf4Kernel):
            return product(rows, kernel, self.axes)
        if isinstance(kernel, TiledKernel):
            return kernel.product(rows)
        shape = (rows.shape[-1], self.features)
        kernel = parameter(self, "kernel", self.kernel_init, shape, self.axes)
        return rows @ kernel.astype(self.dtype)

    def _adapted(self, rows: jax.Array) -> jax.Array:
        adapter: LowRank = self.get_variable("params", ADAPTER)
        drops = adapter.dropout_rate > 0 and self.has_rng("dropout")
        return adapter(rows, self.make_rng("dropout") if drops else None)


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
