"""The metrics hook says why a step has no loss, once."""

import io
from typing import Any

import jax.numpy as jnp

from tlm_jax.losses.reduction import WeightedSum
from tlm_jax.metrics.progress import Progress
from tlm_jax.metrics.throughput import Throughput
from tlm_jax.metrics.writers import MetricsWriter
from tlm_jax.training.hooks import MetricsHook
from tlm_jax.training.loop import Fed, StepEvent
from tlm_jax.training.step import StepMetrics


def _step(number: int, weight: float) -> StepEvent:
    names = ("tokens", "gradient_norm", "parameter_norm", "learning_rate")
    metrics = StepMetrics(
        {"loss": WeightedSum(jnp.asarray(weight), jnp.asarray(weight))},
        {name: jnp.asarray(weight) for name in names},
        jnp.asarray(True),
    )
    state: Any = None
    fed = Fed({}, [("a",), ("b",)], dict, 0.0)
    return StepEvent(number, state, metrics, fed, number == 3)


def test_a_batch_without_targets_is_told_once_with_its_examples(tmp_path):
    said = io.StringIO()
    hook = MetricsHook(
        writer=MetricsWriter(tmp_path),
        progress=Progress(0, 3, stream=said),
        throughput=Throughput(peak_flops_per_second=None),
        period_steps=1,
        on_non_finite="stop",
        step_flops=1.0,
    )
    for number, weight in ((1, 2.0), (2, 0.0), (3, 0.0)):
        hook.after_step(_step(number, weight))
    hook.close()
    notes = [line for line in said.getvalue().splitlines() if "has no loss" in line]
    assert len(notes) == 1
    assert "note: step 2 has no loss (nan), and nothing to learn from: no target" in notes[0]
    assert notes[0].rstrip().endswith("examples: a, b")
