"""Low-rank adapters: which projections have one, and how adapters and a frozen base are a model.

Hu et al. 2021 (arXiv 2106.09685): `y = x W + scale · (x A) B` with W frozen, A [in, r] and
B [r, out]. Adapters are a tree of their own beside the base's, `.../query/lora_a` and
`.../query/lora_b`, so that gradients, optimizer and checkpoints have nothing of the base.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import re
import zlib
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from tlm_jax import trees
from tlm_jax.errors import UserError, nearest
from tlm_jax.models.api import abstract_params, logical_axes
from tlm_jax.models.config import ModelConfig
from tlm_jax.models.nf4 import Nf4Kernel, dequantize, nf4_axes, quantize
from tlm_jax.models.projections import ADAPTER, LowRank
from tlm_jax.types import Params

_KERNEL = "/kernel"
_NO_PROJECTION = re.compile(r"(^|/)logits_dense$")


@dataclasses.dataclass(frozen=True)
class LoraConfig:
    """Which projections are adapted, how, and how the frozen base is stored.

    Attributes:
      rank: r.
      alpha: adapters are scaled by alpha / r.
      targets: regular expression; projections in whose name ("decoder/decoder/mlp/wi_0", or
        "decoder/layers_3/self_attention/query" where layers are not scanned) it is found get an
        adapter. "." adapts all.
      dropout_rate: of the adapters' inputs when training.
      rank_stabilized: scales by alpha / √r instead (Kalajdzievski 2023, arXiv 2312.03732).
      quantization: "nf4" stores the kernels of all projections, adapted or not, in 4 bits; None
        leaves them in `base_dtype`.
      double_quantization: whether the scales of "nf4" are stored in 8 bits.
      base_dtype: type of the base's other arrays, "float32" or "bfloat16".
      initial_path: directory with adapters to start from, in PEFT's form.
    """

    rank: int = 8
    alpha: int | float = 16.0
    targets: str = "attention/(query|value)$"
    dropout_rate: float = 0.0
    rank_stabilized: bool = False
    quantization: Literal["nf4"] | None = None
    double_quantization: bool = True
    base_dtype: Literal["float32", "bfloat16"] = "float32"
    initial_path: str | None = None

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise UserError(f"LoraConfig.rank is {self.rank}, expected at least 1")
        if not 0.0 <= self.dropout_rate < 1.0:
            raise UserError(
                f"LoraConfig.dropout_rate is {self.dropout_rate}, expected at least 0 and less "
                "than 1"
            )
        try:
            re.compile(self.targets)
        except re.error as error:
            raise UserError(
                f"LoraConfig.targets {self.targets!r} is no regular expression: {error}"
            ) from None

    @property
    def scale(self) -> float:
        """What `(x A) B` is multiplied by."""
        return self.alpha / (math.sqrt(self.rank) if self.rank_stabilized else self.rank)


def projections(config: ModelConfig) -> list[str]:
    """Returns the names of a model's projections; tables and the logits matrix are none."""
    kernels = [name for name in trees.flatten(abstract_params(config)) if name.endswith(_KERNEL)]
    names = [name.removesuffix(_KERNEL) for name in kernels]
    return [name for name in names if not _NO_PROJECTION.search(name)]


def targets(config: ModelConfig, lora: LoraConfig) -> list[str]:
    """Returns the names of the projections that get an adapter.

    Raises:
      UserError: there is none; the message lists the projections.
    """
    names = projections(config)
    found = [name for name in names if re.search(lora.targets, name)]
    if not found:
        raise UserError(
            f"LoraConfig.targets {lora.targets!r} is found in the name of no projection."
            f"{nearest(lora.targets, names)} The model's projections: {', '.join(names)}"
        )
    return found


def init_adapters(rng: jax.Array, config: ModelConfig, lora: LoraConfig) -> Params:
    """Returns new adapters, float32: A uniform in ±1/√in, B zero, so that the model is its base.

    These are the initial values of PEFT (Kaiming uniform with a = √5).
    """
    kernels = trees.flatten(abstract_params(config))
    adapters: dict[str, jax.Array] = {}
    for name in targets(config, lora):
        inputs, *layers, outputs = kernels[name + _KERNEL].shape
        key = jax.random.fold_in(rng, zlib.crc32(name.encode()))
        bound = inputs**-0.5
        shape = (inputs, *layers, lora.rank)
        adapters[f"{name}/lora_a"] = jax.random.uniform(key, shape, minval=-bound, maxval=bound)
        adapters[f"{name}/lora_b"] = jnp.zeros((lora.rank, *layers, outputs))
    return trees.unflatten(adapters)


def adapter_axes(config: ModelConfig, lora: LoraConfig) -> Any:
    """Returns the adapters' tree with a tuple of logical axis names for each array."""
    axes_of = trees.flatten(logical_axes(config))
    axes: dict[str, Any] = {}
    for name in targets(config, lora):
        into, *layers, out = axes_of[name + _KERNEL]
        axes[f"{name}/lora_a"] = (into, *layers, None)
        axes[f"{name}/lora_b"] = (None, *layers, out)
    return trees.unflatten(axes)


def freeze(config: ModelConfig, lora: LoraConfig, name: str, array: jax.Array) -> Any:
    """Returns a parameter as the frozen base stores it.

    Args:
      config: the model.
      lora: says how.
      name: of the parameter.
      array: float.
    """
    if _quantized(config, lora, name):
        return quantize(array, double=lora.double_quantization)
    return array.astype(lora.base_dtype)


def base_axes(config: ModelConfig, lora: LoraConfig) -> Any:
    """Returns the base's tree with logical axes for each array, those of `Nf4Kernel` included."""
    shapes = trees.flatten(abstract_params(config))

    def axes_of(name: str, axes: Any) -> Any:
        if not _quantized(config, lora, name):
            return axes
        return nf4_axes(axes, double=lora.double_quantization, inputs=shapes[name].shape[0])

    return trees.map_named(axes_of, logical_axes(config))


def attach(base: Params, adapters: Params, lora: LoraConfig) -> Params:
    """Returns parameters of the adapted model, for every function of `tlm_jax.models`.

    Nothing is multiplied out; gradients flow to the adapters. Dropout acts where the model is given
    a `dropout_rng`.
    """
    whole = trees.flatten(base)
    for name, (a, b) in _pairs(adapters).items():
        whole[f"{name}/{ADAPTER}"] = LowRank(a, b, lora.scale, lora.dropout_rate)
    return trees.unflatten(whole)


def merge(base: Params, adapters: Params, lora: LoraConfig) -> Params:
    """Returns plain float32 parameters of the same model: `W + scale · A B` for each adapter.

    Args:
      base: frozen in any way.
      adapters: the tree that was trained.
      lora: as they were trained with.
    """
    plain = trees.map_named(lambda _, leaf: _plain(leaf), base)
    merged = trees.flatten(plain)
    for name, (a, b) in _pairs(adapters).items():
        merged[name + _KERNEL] = _plus_product(merged[name + _KERNEL], a, b, lora.scale)
    return trees.unflatten(merged)


def _plain(leaf: Any) -> jax.Array:
    return dequantize(leaf) if isinstance(leaf, Nf4Kernel) else leaf.astype(jnp.float32)


@functools.partial(jax.jit, static_argnames="scale")
def _plus_product(
    kernel: Float[Array, "I *L O"], a: Float[Array, "I *L r"], b: Float[Array, "r *L O"], scale
) -> Float[Array, "I *L O"]:
    return kernel + scale * jnp.einsum(
        "i...r,r...o->i...o", a, b, precision=jax.lax.Precision.HIGHEST
    )


def _pairs(adapters: Params) -> dict[str, tuple[jax.Array, jax.Array]]:
    """Returns A and B by the name of their projection."""
    flat = trees.flatten(adapters)
    names = [name.removesuffix("/lora_a") for name in flat if name.endswith("/lora_a")]
    return {name: (flat[f"{name}/lora_a"], flat[f"{name}/lora_b"]) for name in names}


def _quantized(config: ModelConfig, lora: LoraConfig, name: str) -> bool:
    if lora.quantization is None or not name.endswith(_KERNEL):
        return False
    return not _NO_PROJECTION.search(name.removesuffix(_KERNEL))
