"""Opens a checkpoint of adapters as the plain model that they and their frozen base are."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping

import jax.numpy as jnp
import ml_dtypes
import numpy as np

from tlm_jax.checkpoints.base_model import BaseModel
from tlm_jax.lazy import Index, LazyArray, Stored, cast
from tlm_jax.models.config import ModelConfig
from tlm_jax.models.lora import LoraConfig, projections
from tlm_jax.models.nf4 import dequantize, quantize

Arrays = Mapping[str, LazyArray]


def merged_arrays(
    base: Arrays, adapters: Arrays, config: ModelConfig, identity: BaseModel
) -> dict[str, LazyArray]:
    """Returns `W + scale · A B` for every adapted kernel, and the base's other parameters.

    They are what `models.lora.merge` gives: kernels have been through NF4, and other parameters
    through `base_dtype`, where the run's have.

    Args:
      base: unrolled parameters of the base.
      adapters: unrolled `lora_a` and `lora_b`; read now.
      config: the model.
      identity: what the checkpoint says of base and adapters.
    """
    lora = identity.lora_config()
    kernels = {
        f"{name}/kernel" for name in projections(dataclasses.replace(config, scan_layers=False))
    }
    pairs = {name: array.read() for name, array in adapters.items()}
    result: dict[str, LazyArray] = {}
    for name, array in base.items():
        if name in kernels and lora.quantization is not None:
            array = _through_nf4(array, lora)
        elif lora.base_dtype == "bfloat16":
            array = cast(array, np.dtype(ml_dtypes.bfloat16))
        array = cast(array, np.dtype(np.float32))
        module = name.rpartition("/")[0]
        if name in kernels and f"{module}/lora_a" in pairs:
            array = _adapted(array, pairs[f"{module}/lora_a"], pairs[f"{module}/lora_b"], lora)
        result[name] = array
    return result


def _through_nf4(kernel: LazyArray, lora: LoraConfig) -> LazyArray:
    @functools.lru_cache(maxsize=1)  # A kernel's blocks are read one after the other.
    def whole() -> np.ndarray:
        codes = quantize(jnp.asarray(kernel.read(), jnp.float32), double=lora.double_quantization)
        return np.asarray(dequantize(codes))

    return Stored(kernel.shape, np.dtype(np.float32), lambda index: whole()[index])


def _adapted(kernel: LazyArray, a: np.ndarray, b: np.ndarray, lora: LoraConfig) -> LazyArray:
    def read(index: Index) -> np.ndarray:
        rows, columns = index
        return kernel[index] + np.float32(lora.scale) * (a[rows] @ b[:, columns])

    return Stored(kernel.shape, np.dtype(np.float32), read)
