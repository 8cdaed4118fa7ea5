"""Compiles a lowered step for devices that are not here and measures what it would need there."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import Any

from tlm_jax.errors import UserError


@dataclass(frozen=True)
class DeviceMemory:
    """Memory that a compiled program needs on each device, in bytes, as XLA reports it.

    Attributes:
      arguments: state and batch.
      outputs: new state and metrics.
      aliased: outputs that take the place of donated arguments.
      temporary: activations, gradients, gathered parameters and collectives' buffers, summed by
        buffer; some share space with outputs, so this can exceed what they add to the peak.
      generated_code: the program itself.
      peak: the most in use at one moment: arguments, outputs and temporaries alive then. This is
        what the compiler holds against the device's memory.
    """

    arguments: int
    outputs: int
    aliased: int
    temporary: int
    generated_code: int
    peak: int


@dataclass(frozen=True)
class CompiledStep:
    """What compiling took and gave."""

    memory: DeviceMemory
    lower_seconds: float
    compile_seconds: float


class DoesNotFitError(UserError):
    """The compiler could not place the program in the devices' memory."""


def compile_ahead(jitted: Any, *abstract_arguments: Any) -> CompiledStep:
    """Lowers and compiles `jitted` for the devices that its arguments' shardings name.

    Args:
      jitted: what `jax.jit` returned.
      *abstract_arguments: trees of `jax.ShapeDtypeStruct` with shardings.

    Raises:
      DoesNotFitError: with the compiler's account of the memory.
    """
    start = time.perf_counter()
    lowered = jitted.lower(*abstract_arguments)
    lowered_at = time.perf_counter()
    try:
        compiled = lowered.compile()
    except Exception as error:
        # The one failure of the compiler that is the configuration's doing.
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        raise DoesNotFitError(_out_of_memory(str(error))) from error
    done = time.perf_counter()
    stats = compiled.memory_analysis()
    memory = DeviceMemory(
        arguments=stats.argument_size_in_bytes,
        outputs=stats.output_size_in_bytes,
        aliased=stats.alias_size_in_bytes,
        temporary=stats.temp_size_in_bytes,
        generated_code=stats.generated_code_size_in_bytes,
        peak=stats.peak_memory_in_bytes,
    )
    return CompiledStep(memory, lowered_at - start, done - lowered_at)


def _out_of_memory(message: str) -> str:
    """Keeps the sentence with the figures of XLA's long account."""
    text = " ".join(message.split())
    sentence = re.search(r"(Used \S+ of \S+ hbm|Ran out of memory .*?\))", text)
    return sentence[0] if sentence else text[:200]
