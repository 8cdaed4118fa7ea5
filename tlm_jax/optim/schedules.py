"""Learning rates as functions of the step, each a small value that gin can build."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from tlm_jax.errors import UserError

Step = int | Int[Array, ""]
Schedule = Callable[[Any], Array]
"""Learning rate of an update, given how many updates came before it (the first has step 0)."""


@dataclasses.dataclass(frozen=True)
class Constant:
    """`value`, after a linear warm-up from 0 over `warmup_steps`."""

    value: float
    warmup_steps: int = 0

    def __call__(self, step: Step) -> Float[Array, ""]:
        return self.value * _warmup(step, self.warmup_steps)


@dataclasses.dataclass(frozen=True)
class InverseSquareRoot:
    """T5's `scale / sqrt(max(step, flat_steps))`: flat at first, then falling.

    `warmup_steps` puts a linear rise from 0 in front (none in T5's own pre-training). With
    Adafactor's parameter scaling this is a relative step size: T5 pre-trained with scale 1 and
    flat_steps 10,000, hence 0.01 at first.
    """

    scale: float = 1.0
    flat_steps: int = 10_000
    warmup_steps: int = 0

    def __post_init__(self):
        if self.flat_steps < 1:
            raise UserError(f"InverseSquareRoot.flat_steps is {self.flat_steps}: give at least 1")

    def __call__(self, step: Step) -> Float[Array, ""]:
        rate = self.scale / jnp.sqrt(jnp.maximum(_float(step), self.flat_steps))
        return rate * _warmup(step, self.warmup_steps)


@dataclasses.dataclass(frozen=True)
class _Decay(abc.ABC):
    """A linear warm-up from 0 to `peak`, then down to `end` at `total_steps`."""

    peak: float
    total_steps: int
    end: float = 0.0
    warmup_steps: int = 0

    def __post_init__(self):
        if self.total_steps <= self.warmup_steps:
            raise UserError(
                f"{type(self).__name__}.total_steps is {self.total_steps} and warmup_steps "
                f"{self.warmup_steps}: the total includes the warm-up, so it must be larger"
            )

    def __call__(self, step: Step) -> Float[Array, ""]:
        left = self._left(_progress(step, self.warmup_steps, self.total_steps))
        return (self.end + (self.peak - self.end) * left) * _warmup(step, self.warmup_steps)

    @abc.abstractmethod
    def _left(self, progress: Float[Array, ""]) -> Float[Array, ""]:
        """Returns the share of the way down that is left: 1 at progress 0, 0 at progress 1."""


@dataclasses.dataclass(frozen=True)
class Linear(_Decay):
    """A linear warm-up from 0 to `peak`, then a straight line to `end` at `total_steps`."""

    def _left(self, progress: Float[Array, ""]) -> Float[Array, ""]:
        return 1.0 - progress


@dataclasses.dataclass(frozen=True)
class Cosine(_Decay):
    """A linear warm-up from 0 to `peak`, then half a cosine to `end` at `total_steps`."""

    def _left(self, progress: Float[Array, ""]) -> Float[Array, ""]:
        return 0.5 * (1.0 + jnp.cos(jnp.pi * progress))


def _float(step: Step) -> Float[Array, ""]:
    return jnp.asarray(step, jnp.float32)


def _warmup(step: Step, warmup_steps: int) -> Float[Array, ""]:
    """Returns step / warmup_steps up to 1; 1 without a warm-up."""
    if warmup_steps <= 0:
        return jnp.float32(1.0)
    return jnp.minimum(_float(step) / warmup_steps, 1.0)


def _progress(step: Step, warmup_steps: int, total_steps: int) -> Float[Array, ""]:
    """Returns 0 at the end of the warm-up, 1 at the end, constant outside."""
    return jnp.clip((_float(step) - warmup_steps) / (total_steps - warmup_steps), 0.0, 1.0)
