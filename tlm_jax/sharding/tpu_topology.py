"""TPU slices to compile for on a machine that has none: their devices and their memory."""

from __future__ import annotations

import importlib.util
import math
import os
import re
from dataclasses import dataclass
from typing import Any

from tlm_jax.errors import UserError, nearest

GIB = 2**30


@dataclass(frozen=True)
class TpuGeneration:
    """One generation of TPU chips, and how JAX presents its chips as devices.

    Attributes:
      hbm_gib: memory of a chip by its data sheet.
      devices_per_chip: JAX devices a chip; each has its share of the memory.
      usable_gib: memory of a device that the compiler lets a program use (libtpu 0.0.42).
      axes: dimensions of a slice: 2 for a torus of rows and columns, 3 for a cube.
      options: what the topology needs beyond its name.
    """

    hbm_gib: int
    devices_per_chip: int
    usable_gib: float
    axes: int
    options: tuple[tuple[str, str], ...] = ()


GENERATIONS = {
    # A v4 chip is one device where its two cores are fused, which is how v4 slices are sold.
    "v4": TpuGeneration(32, 1, 30.75, 3, (("chip_config_name", "megacore"),)),
    "v5e": TpuGeneration(16, 1, 15.75, 2),
    "v5p": TpuGeneration(95, 1, 95.74, 3),
    "v6e": TpuGeneration(32, 1, 31.25, 2),
    "tpu7x": TpuGeneration(192, 2, 94.75, 3),
}


@dataclass(frozen=True)
class TpuTopology:
    """A slice: its devices exist for the compiler only."""

    name: str
    generation: TpuGeneration
    devices: tuple[Any, ...]

    @property
    def usable_bytes_per_device(self) -> int:
        """What the compiler lets a program use of a device's memory."""
        return int(self.generation.usable_gib * GIB)


def tpu_topology(name: str) -> TpuTopology:
    """Returns the slice called `GENERATION:AxBxC` (or `AxB`), such as `v5p:4x4x4` or `v5e:16x16`.

    Sizes count chips along each axis of the torus. Needs the `libtpu` package, but no TPU.

    Raises:
      UserError: an unknown generation, an impossible size, or libtpu is not installed.
    """
    generation, sizes = _parse(name)
    if importlib.util.find_spec("libtpu") is None:
        raise UserError(
            f"compiling for {name} needs the libtpu package; install the extra: "
            "pip install 'tlm_jax[tpu]'"
        )
    quiet_libtpu()
    from jax.experimental import topologies

    known = GENERATIONS[generation]
    options: dict[str, Any] = dict(known.options)
    if math.prod(sizes) == 1:
        options["chips_per_host_bounds"] = (1, 1, 1)  # the default host has 2 x 2 chips
    try:
        description = topologies.get_topology_desc(name, platform="tpu", **options)
    except Exception as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"libtpu does not know the topology {name!r} ({reason}); expected "
            f"{_example(generation)}"
        ) from error
    return TpuTopology(name, known, tuple(description.devices))


def _parse(name: str) -> tuple[str, tuple[int, ...]]:
    match = re.fullmatch(r"([a-z0-9]+):(\d+(?:x\d+)+)", name)
    if not match:
        raise UserError(
            f"topology {name!r} is not GENERATION:SIZES; expected for example v5p:4x4x4 or v5e:8x8"
        )
    generation, sizes = match[1], tuple(int(size) for size in match[2].split("x"))
    if generation not in GENERATIONS:
        raise UserError(
            f"unknown TPU generation {generation!r} in topology {name!r}."
            f"{nearest(generation, GENERATIONS)} Known: {', '.join(GENERATIONS)}."
        )
    if len(sizes) != GENERATIONS[generation].axes or 0 in sizes:
        raise UserError(
            f"topology {name!r} has {len(sizes)} sizes; slices of {generation} have "
            f"{GENERATIONS[generation].axes}, each at least 1: {_example(generation)}"
        )
    return generation, sizes


def _example(generation: str) -> str:
    axes = GENERATIONS[generation].axes
    return f"for example {generation}:{'x'.join('2' * axes)} or {generation}:{'x'.join('4' * axes)}"


def quiet_libtpu() -> None:
    """Tells libtpu that there is no TPU here, so that it neither searches for one nor logs so.

    Compiling takes no device, so several processes may do it at once despite libtpu's lock.
    """
    for variable, value in {
        "TPU_SKIP_MDS_QUERY": "1",
        "TPU_ACCELERATOR_TYPE": "v5p-8",
        "TPU_WORKER_HOSTNAMES": "localhost",
        "TPU_LOG_DIR": "disabled",
        "TPU_MIN_LOG_LEVEL": "3",
        "TPU_STDERR_LOG_LEVEL": "3",
        "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    }.items():
        os.environ.setdefault(variable, value)
