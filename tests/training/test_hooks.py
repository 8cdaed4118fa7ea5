"""The metrics hook says why a step has no loss, once."""

import types

import numpy as np

from tlm_jax.metrics.throughput import Throughput
from tlm_jax.training.hooks import MetricsHook


def _step(number, weight):
    loss = types.SimpleNamespace(total=np.float32(weight), weight=np.float32(weight))
    scalars = {"tokens": np.float32(weight), "gradient_norm": np.float32(0)}
    metrics = types.SimpleNamespace(sums={"loss": loss}, scalars=scalars, finite=True)
    fed = types.SimpleNamespace(example_ids=[("a",), ("b",)], wait_seconds=0.0)
    return types.SimpleNamespace(step=number, metrics=metrics, fed=fed, last=number == 3)


def test_a_batch_without_targets_is_told_once_with_its_examples():
    said, written = [], []
    progress = types.SimpleNamespace(
        line=said.append, advance=lambda step: None, report=lambda step, values: None
    )
    writer = types.SimpleNamespace(write=lambda step, split, values: written.append(values))
    hook = MetricsHook(
        writer=writer,  # pyright: ignore[reportArgumentType]
        progress=progress,  # pyright: ignore[reportArgumentType]
        throughput=Throughput(peak_flops_per_second=None),
        period_steps=1,
        on_non_finite="stop",
        step_flops=1.0,
    )
    for number, weight in ((1, 2.0), (2, 0.0), (3, 0.0)):
        hook.after_step(_step(number, weight))  # pyright: ignore[reportArgumentType]
    assert [bool(np.isnan(values["loss"])) for values in written] == [False, True, True]
    assert len(said) == 1
    assert said[0].startswith("note: step 2 has no loss (nan), and nothing to learn from: no")
    assert said[0].endswith("examples: a, b")
