"""Opens a checkpoint of adapters as the plain model that they and their frozen base are."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np

from tlm_jax import models, trees
from tlm_jax.checkpoints import vocabulary_rows
from tlm_jax.checkpoints.base_model import BaseModel, Fingerprint
from tlm_jax.checkpoints.structure import check_same
from tlm_jax.errors import UserError
from tlm_jax.lazy import Index, LazyArray, Stored, cast
from tlm_jax.models import layouts
from tlm_jax.models.config import ModelConfig
from tlm_jax.models.lora import LoraConfig, init_adapters, projections
from tlm_jax.models.nf4 import dequantize, quantize

Arrays = Mapping[str, LazyArray]
_REMEDY = "Put back the model that they were trained on."


def merged_arrays(
    base: Arrays, adapters: Arrays, config: ModelConfig, identity: BaseModel, *, where: str
) -> dict[str, LazyArray]:
    """Returns `W + scale · A B` for every adapted kernel, and the base's other parameters.

    They are what `models.lora.merge` gives: kernels have been through NF4, and other parameters
    through `base_dtype`, where the run's have; rows for tokens are cut or extended as the run's
    were. Before the first parameter is read, all of the base is, for its fingerprint.

    Args:
      base: unrolled parameters of the base.
      adapters: `lora_a` and `lora_b` in the layout of `config`; read now.
      config: the model.
      identity: what the checkpoint says of base and adapters.
      where: the checkpoint, for errors.

    Raises:
      UserError: base or adapters are not of this model; or, when a parameter is read, the base is
        not the one that the adapters were trained on.
    """
    lora = identity.lora_config()
    _check_adapters(adapters, config, lora, where)
    base = vocabulary_rows.resized(base, config.vocab_size, announce=lambda line: None)
    arranged = layouts.arrange(base, config)
    check_same(
        arranged,
        trees.flatten(models.abstract_params(config)),
        where=f"{identity.origin}, which the adapters in {where} are for,",
        model="the model that they were trained on",
        remedy=_REMEDY,
    )
    check_base = functools.cache(lambda: _check_base(arranged, identity, where))
    kernels = {
        f"{name}/kernel" for name in projections(dataclasses.replace(config, scan_layers=False))
    }
    pairs = {name: array.read() for name, array in layouts.unrolled(adapters).items()}
    result: dict[str, LazyArray] = {}
    for name, array in base.items():
        array = _once(check_base, array)
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


def _check_adapters(adapters: Arrays, config: ModelConfig, lora: LoraConfig, where: str) -> None:
    wanted = jax.eval_shape(lambda: init_adapters(jax.random.PRNGKey(0), config, lora))
    check_same(
        adapters, trees.flatten(wanted), where=where, model="the model in model.json with adapters"
    )


def _check_base(arranged: Arrays, identity: BaseModel, where: str) -> None:
    """Compares the base with the one that the adapters were trained on, reading all of it."""
    fingerprint = Fingerprint()
    for name, array in arranged.items():
        fingerprint.add_lazy(name, cast(array, np.dtype(np.float32)))
    if fingerprint.text() != identity.fingerprint:
        raise UserError(
            f"{where} holds adapters trained on {identity.origin} when its parameters were others "
            f"(fingerprint {identity.fingerprint}, now {fingerprint.text()}). {_REMEDY}"
        )


def _once(check: Callable[[], None], array: LazyArray) -> LazyArray:
    """Returns the array, which calls `check` before it is read."""

    def read(index: Index) -> np.ndarray:
        check()
        return array[index]

    return Stored(array.shape, array.dtype, read)


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
