"""The position-wise network of a layer."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable

import jax
from flax import linen as nn
from jaxtyping import Array, Float

from tlm_jax.models.projections import Projection
from tlm_jax.models.specs import MlpSpec
from tlm_jax.sharding.rules import constrain

ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "relu": nn.relu,
    "gelu": functools.partial(nn.gelu, approximate=True),
    "gelu_exact": functools.partial(nn.gelu, approximate=False),
    "silu": nn.silu,
    "swish": nn.silu,
    "tanh": nn.tanh,
    "linear": lambda x: x,
}


class Mlp(nn.Module):
    """`wo(dropout(a₀(wi_0(x)) · a₁(wi_1(x)) · ...))`; a single input projection is named `wi`.

    Args of the call: x, the block's input, normalised.
    """

    spec: MlpSpec
    deterministic: bool = True

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"]) -> Float[Array, "B T D"]:
        spec = self.spec
        names = (
            ["wi"]
            if len(spec.activations) == 1
            else [f"wi_{index}" for index in range(len(spec.activations))]
        )
        branches = [
            ACTIVATIONS[activation](
                Projection(spec.mlp_dim, ("embed", "mlp"), spec.use_bias, spec.dtype, name=name)(x)
            )
            for name, activation in zip(names, spec.activations)
        ]
        hidden = functools.reduce(operator.mul, branches)
        hidden = constrain(hidden, ("batch", "length", "mlp"))
        hidden = nn.Dropout(spec.dropout_rate, broadcast_dims=(-2,))(
            hidden, deterministic=self.deterministic
        )
        return Projection(x.shape[-1], ("mlp", "embed"), spec.use_bias, spec.dtype, name="wo")(
            hidden
        )
