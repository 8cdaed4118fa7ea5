"""Counts what a run's step computes: the student's training, and its teacher's answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tlm_jax.runs.training import adapters
from tlm_jax.runs.training.config import RunConfig
from tlm_jax.runs.training.run_teacher import RunTeacher


def step_flops(run: RunConfig, batch: Mapping[str, Any], teacher: RunTeacher | None) -> float:
    """Returns the FLOPs of a step's matrix products, recomputation left out.

    The student's forward and backward pass (less what a frozen base saves), and of a teacher the
    forward pass that the step makes: all of a live one's, the output table alone for cached hidden
    states. Samples of on-policy steps are drawn by another program, and not counted.

    Args:
      run: the configuration.
      batch: arrays or shapes.
      teacher: of a distilled student.
    """
    flops = adapters.train_flops(run, batch)
    return flops if teacher is None else flops + teacher.forward_flops(run.model, batch)
