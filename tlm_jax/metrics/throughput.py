"""Measures how fast training goes, and what share of the hardware's peak it uses."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

# Dense bfloat16 FLOP/s of one TensorCore, from Google Cloud's TPU system architecture pages (which
# give them by chip; v2, v3, v4, v5p and 7x have two cores a chip, the others one). A JAX device has
# `num_cores` of them.
TPU_CORE_PEAK_FLOPS = {
    "TPU v2": 22.5e12,
    "TPU v3": 61.5e12,
    "TPU v4": 137.5e12,
    "TPU v5 lite": 197e12,
    "TPU v5": 229.5e12,
    "TPU v5p": 229.5e12,
    "TPU v6 lite": 918e12,
    "TPU7x": 1153.5e12,
}

# Dense bfloat16 FLOP/s of one GPU, from NVIDIA's data sheets; the first name that the device's kind
# contains counts.
GPU_PEAK_FLOPS = {
    "B200": 2250e12,
    "GH200": 989.4e12,
    "H200": 989.4e12,
    "H100 PCIe": 756e12,
    "H100 NVL": 835e12,
    "H100": 989.4e12,
    "A100": 312e12,
    "L40S": 362e12,
    "L4": 121e12,
}


def peak_flops(device: Any) -> float | None:
    """Returns a device's dense bfloat16 peak in FLOP/s, or None where it is not known.

    Model-FLOPs utilisation is by custom given against this peak, whatever the compute dtype
    (Chowdhery et al. 2022, PaLM, appendix B). A CPU has no such figure, and one that is measured at
    the start of a run depends on what else the machine does just then: runs of equal speed were
    told 24 % and 60 %.

    Args:
      device: a JAX device, of which `device_kind` and, on TPU, `num_cores` are read.
    """
    kind = device.device_kind
    if kind in TPU_CORE_PEAK_FLOPS:
        return TPU_CORE_PEAK_FLOPS[kind] * getattr(device, "num_cores", 1)
    return next((peak for name, peak in GPU_PEAK_FLOPS.items() if name in kind), None)


class Throughput:
    """Counts what was trained on between two reports.

    The first interval after construction includes compilation; call `reset` after the first step
    to leave it out.
    """

    def __init__(
        self,
        *,
        peak_flops_per_second: float | int | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ):
        """Starts counting.

        Args:
          peak_flops_per_second: of all devices together; None leaves utilisation out.
          clock: seconds, for tests.
        """
        self._peak = peak_flops_per_second
        self._clock = clock
        self._paused_at: float | None = None
        self.reset()

    def reset(self) -> None:
        """Begins a new interval."""
        self._start = self._clock()
        self._steps = self._tokens = self._examples = 0
        self._flops = self._wait_seconds = 0.0

    def add(
        self,
        *,
        tokens: float | int,
        examples: float | int,
        model_flops: float | int = 0,
        wait_seconds: float | int = 0,
    ) -> None:
        """Counts one step.

        Args:
          tokens: real tokens (not padding) of the global batch, inputs and targets.
          examples: examples in the global batch; packed rows hold several.
          model_flops: forward and backward FLOPs of the global batch, without recomputation.
          wait_seconds: how long the step waited for its data.
        """
        self._steps += 1
        self._tokens += tokens
        self._examples += examples
        self._flops += model_flops
        self._wait_seconds += wait_seconds

    def pause(self) -> None:
        """Stops the clock, for an evaluation."""
        if self._paused_at is None:
            self._paused_at = self._clock()

    def resume(self) -> None:
        """Starts the clock again."""
        if self._paused_at is not None:
            self._start += self._clock() - self._paused_at
            self._paused_at = None

    def rates(self) -> dict[str, float]:
        """Returns the rates since the last reset, empty before a first step.

        `tokens_per_second`, `examples_per_second`, `step_seconds`, `data_wait_share` (0 to 1), and,
        if the peak is known, `model_flops_utilisation` (0 to 1).
        """
        now = self._clock() if self._paused_at is None else self._paused_at
        seconds = now - self._start
        if not self._steps or seconds <= 0:
            return {}
        rates = {
            "tokens_per_second": self._tokens / seconds,
            "examples_per_second": self._examples / seconds,
            "step_seconds": seconds / self._steps,
            "data_wait_share": min(1.0, self._wait_seconds / seconds),
        }
        if self._peak and self._flops:
            rates["model_flops_utilisation"] = self._flops / seconds / self._peak
        return rates
