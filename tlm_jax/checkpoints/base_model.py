"""Identifies the frozen model that adapters belong to, for checkpoints that hold adapters alone."""

from __future__ import annotations

import dataclasses
import hashlib
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Shaped, UInt32

from tlm_jax.checkpoints.formats.blocks import BLOCK_BYTES
from tlm_jax.errors import UserError
from tlm_jax.lazy import LazyArray, blocks
from tlm_jax.models.lora import LoraConfig

_MODULUS = 1 << 32
_MODEL_FIELDS = (
    *("rank", "alpha", "targets", "rank_stabilized"),
    *("quantization", "double_quantization", "base_dtype"),
)
"""Settings without which the same adapters are another model."""


@dataclasses.dataclass(frozen=True)
class BaseModel:
    """What a checkpoint of adapters says of the model around them.

    Attributes:
      origin: where the base came from, for people: a path, or the seed of new parameters.
      fingerprint: of the base's parameters before they were stored in fewer bits; the same
        whatever the mesh.
      lora: settings under which the adapters are that model.
    """

    origin: str
    fingerprint: str
    lora: Mapping[str, Any]

    @classmethod
    def of(cls, origin: str, fingerprint: str, lora: LoraConfig) -> BaseModel:
        """Returns what is to be said of a run."""
        return cls(origin, fingerprint, {name: getattr(lora, name) for name in _MODEL_FIELDS})

    def lora_config(self) -> LoraConfig:
        """Returns the settings, as `tlm_jax.models.lora` needs them."""
        return LoraConfig(**self.lora)


def check_same_base(saved: BaseModel | None, wanted: BaseModel | None, *, where: str) -> None:
    """Checks that a checkpoint's adapters are of this run's frozen model.

    Raises:
      UserError: one has adapters and the other none, or they are of different models.
    """
    if saved == wanted:
        return
    if saved is None:
        raise UserError(
            f"{where} holds all parameters of a model, but this run trains adapters (LORA). Take "
            "it as INITIAL_CHECKPOINT_PATH of another MODEL_DIR."
        )
    if wanted is None:
        raise UserError(
            f"{where} holds adapters on the model {saved.origin}, but this run trains all "
            "parameters. Set LORA as it was (config.gin beside the checkpoints), or choose another "
            "MODEL_DIR."
        )
    for name in _MODEL_FIELDS:
        if saved.lora.get(name) != wanted.lora.get(name):
            raise UserError(
                f"{where} has adapters with {name} {saved.lora.get(name)!r}, this run has "
                f"{wanted.lora.get(name)!r}. Train with the settings that it was made with, or "
                "choose another MODEL_DIR."
            )
    if saved.fingerprint != wanted.fingerprint:
        raise UserError(
            f"{where} has adapters on the model {saved.origin} (fingerprint {saved.fingerprint}), "
            f"but this run's frozen model, {wanted.origin}, has other parameters (fingerprint "
            f"{wanted.fingerprint}). Set INITIAL_CHECKPOINT_PATH to the former, or choose another "
            "MODEL_DIR."
        )


class Fingerprint:
    """Sums up parameters, one after the other in any order; exact on every mesh and device."""

    def __init__(self):
        self._sums: dict[str, tuple[Any, ...]] = {}

    def add(self, name: str, array: jax.Array) -> None:
        """Takes a parameter in."""
        self._add(name, array.shape, array, [0] * array.ndim)

    def add_lazy(self, name: str, array: LazyArray) -> None:
        """Takes a parameter in that is read in blocks."""
        for index in blocks(array, BLOCK_BYTES):
            starts = [part.start for part in index] + [0] * (len(array.shape) - len(index))
            self._add(name, array.shape, array[index], starts)

    def text(self) -> str:
        """Returns 16 hexadecimal digits for all the parameters taken in."""
        return hashlib.sha256(repr(sorted(self._sums.items())).encode()).hexdigest()[:16]

    def _add(self, name: str, shape: Sequence[int], part: Any, starts: Sequence[int]) -> None:
        places = [1]  # between neighbours along each axis, in the whole array
        for size in reversed(shape[1:]):
            places.insert(0, places[0] * size % _MODULUS)
        sums = _sums_of_bits(
            part, np.array(starts, np.uint32), np.array(places[: len(shape)], np.uint32)
        )
        whole = (tuple(shape), str(part.dtype))
        *_, first, second = self._sums.get(name, (*whole, 0, 0))
        more = np.asarray(sums).tolist()
        self._sums[name] = (*whole, (first + more[0]) % _MODULUS, (second + more[1]) % _MODULUS)


@jax.jit
def _sums_of_bits(
    array: Shaped[Array, "*shape"] | Shaped[np.ndarray, "*shape"],
    starts: UInt32[np.ndarray, "rank"] | UInt32[Array, "rank"],
    places: UInt32[np.ndarray, "rank"] | UInt32[Array, "rank"],
) -> UInt32[Array, "2"]:
    """Sums every entry's bits times two odd numbers of its place, modulo 2³².

    Integer sums do not depend on order, so parts of an array add up; and an odd factor loses no
    bit: a single entry that differs changes both sums.

    Args:
      array: a part of an array.
      starts: where along each axis it begins.
      places: how far apart neighbours along each axis are.
    """
    bits = jax.lax.bitcast_convert_type(array, f"uint{8 * array.dtype.itemsize}")
    bits = bits.astype(jnp.uint32)
    place = jnp.zeros(array.shape, jnp.uint32)
    for axis in range(array.ndim):
        along = jax.lax.broadcasted_iota(jnp.uint32, array.shape, axis)
        place = place + (along + starts[axis]) * places[axis]
    sums = []
    for seed in (b"first", b"second"):
        factor = place * np.uint32(zlib.crc32(seed) | 1)
        factor ^= factor >> 15
        sums.append(jnp.sum(bits * (factor << 1 | 1), dtype=jnp.uint32))
    return jnp.stack(sums)
