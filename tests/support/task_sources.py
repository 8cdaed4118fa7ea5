"""Gives tasks the data of a test."""

from __future__ import annotations

from typing import Any

from tlm_jax.data import tasks
from tlm_jax.data.run_data import RunData


def source_of(name: str, data: RunData) -> Any:
    """Returns a task's examples; they are text, whatever a source may give besides."""
    return tasks.get_task(name).source.for_run(data)
