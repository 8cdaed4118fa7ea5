"""Hooks write means, stop or go on at what is not finite, evaluate and save when their time is."""

import contextlib
import io
import json
import math
from collections.abc import Callable, Iterator
from typing import Any

import jax.numpy as jnp
import pytest

from tlm_jax.checkpoints.manager import CheckpointManager
from tlm_jax.errors import UserError
from tlm_jax.losses.reduction import WeightedSum
from tlm_jax.metrics.progress import Progress
from tlm_jax.metrics.throughput import Throughput
from tlm_jax.metrics.writers import FILE_NAME, MetricsWriter
from tlm_jax.training.hooks import CheckpointHook, EvaluationHook, MetricsHook
from tlm_jax.training.loop import Fed, StepEvent
from tlm_jax.training.step import StepMetrics


class _Clock:
    """Seconds that pass when a test says so."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def _step(number: int, weight: float, *, total=None, finite=True, last=3, rate=None) -> StepEvent:
    names = ("tokens", "gradient_norm", "parameter_norm", "learning_rate")
    scalars = {name: jnp.asarray(weight) for name in names}
    if rate is not None:
        scalars["learning_rate"] = jnp.asarray(rate)
    total = weight if total is None else total
    metrics = StepMetrics(
        {"loss": WeightedSum(jnp.asarray(total), jnp.asarray(weight))}, scalars, jnp.asarray(finite)
    )
    state: Any = f"state {number}"
    fed = Fed({}, [("a",), ("b",)], lambda: {"position": number}, 0.5)
    return StepEvent(number, state, metrics, fed, number == last)


@pytest.fixture
def metrics_hook() -> Iterator[Callable[..., MetricsHook]]:
    """Returns a function that makes a hook which writes to a folder, and is closed at the end."""
    with contextlib.ExitStack() as closing:

        def make(folder, *, clock=None, stream=None, **options):
            clock = clock or _Clock()
            settings = {"period_steps": 1, "on_non_finite": "stop", "step_flops": 1.0} | options
            hook = MetricsHook(
                writer=MetricsWriter(folder, tensorboard=False),
                progress=Progress(0, 3, stream=stream or io.StringIO(), clock=clock),
                throughput=Throughput(peak_flops_per_second=10.0, clock=clock),
                **settings,
            )
            closing.callback(hook.close)
            return hook

        yield make


def _written(folder):
    return [json.loads(line) for line in (folder / FILE_NAME).read_text().splitlines()]


def test_a_batch_without_targets_is_told_once_with_its_examples(metrics_hook, tmp_path):
    said = io.StringIO()
    hook = metrics_hook(tmp_path, stream=said)
    for number, weight in ((1, 2.0), (2, 0.0), (3, 0.0)):
        hook.after_step(_step(number, weight))
    notes = [line for line in said.getvalue().splitlines() if "has no loss" in line]
    assert len(notes) == 1
    assert "note: step 2 has no loss (nan), and nothing to learn from: no target" in notes[0]
    assert "It changes no parameter; examples: " in notes[0]
    assert notes[0].rstrip().endswith("examples: a, b")


def test_a_line_is_the_mean_over_the_weights_of_its_period(metrics_hook, tmp_path):
    hook = metrics_hook(tmp_path, period_steps=2)
    for number, total, weight in ((1, 2.0, 1.0), (2, 12.0, 3.0), (3, 5.0, 1.0), (4, 7.0, 3.0)):
        hook.after_step(_step(number, weight, total=total, rate=number / 10, last=4))
    lines = _written(tmp_path)
    assert [(line["step"], line["split"]) for line in lines] == [(2, "train"), (4, "train")]
    assert [line["loss"] for line in lines] == [14 / 4, 12 / 4]
    # Scalars are means over steps; how many tokens there were is in the rates alone.
    assert [line["learning_rate"] for line in lines] == pytest.approx([0.15, 0.35])
    assert all("tokens" not in line for line in lines)


def test_a_step_is_reported_when_the_next_is_dispatched_and_the_last_at_once(
    metrics_hook, tmp_path
):
    hook = metrics_hook(tmp_path)
    seen = []
    for number in (1, 2, 3):
        hook.after_step(_step(number, 1.0))
        seen.append([line["step"] for line in _written(tmp_path)])
    assert seen == [[], [1], [1, 2, 3]]


def test_rates_leave_out_the_step_that_compiles_and_count_all_hosts(metrics_hook, tmp_path):
    clock = _Clock()
    hook = metrics_hook(tmp_path, clock=clock, period_steps=3, step_flops=8.0, host_count=4)
    clock.now = 100.0  # the first step compiles
    for number in (1, 2):
        hook.after_step(_step(number, 6.0))
    clock.now += 2.0
    hook.after_step(_step(3, 6.0))
    (line,) = _written(tmp_path)
    assert line["tokens_per_second"] == 2 * 6.0 / 2.0
    assert line["examples_per_second"] == 2 * 4 * 2 / 2.0  # two steps, four hosts, two examples
    assert line["step_seconds"] == 1.0
    assert line["data_wait_share"] == 0.5
    assert line["model_flops_utilisation"] == pytest.approx(2 * 8.0 / 2.0 / 10.0)


def test_stops_at_a_loss_that_is_not_finite_with_step_and_examples(metrics_hook, tmp_path):
    hook = metrics_hook(tmp_path)
    hook.after_step(_step(1, 2.0))
    hook.after_step(_step(2, 2.0, total=math.inf, finite=False))
    with pytest.raises(UserError) as caught:
        hook.after_step(_step(3, 2.0))
    message = str(caught.value)
    assert message.startswith("step 2: loss is inf and gradient norm 2; the update was not applied")
    assert "examples: a, b. Lower the learning rate" in message
    assert "ON_NON_FINITE='skip'" in message
    assert _written(tmp_path)[-1] == {"step": 2, "split": "non_finite", "loss": None}


def test_skips_a_loss_that_is_not_finite_and_leaves_it_out_of_the_mean(metrics_hook, tmp_path):
    said = io.StringIO()
    hook = metrics_hook(tmp_path, stream=said, period_steps=3, on_non_finite="skip")
    for number, total in ((1, 2.0), (2, math.nan), (3, 6.0)):
        hook.after_step(_step(number, 2.0, total=total, finite=not math.isnan(total)))
    mean = [line for line in _written(tmp_path) if line["split"] == "train"]
    assert [line["loss"] for line in mean] == [(2.0 + 6.0) / 4.0]
    told = [line for line in said.getvalue().splitlines() if "not applied" in line]
    assert told == [
        "step 2: loss is nan and gradient norm 2; the update was not applied; examples: a, b"
    ]


def test_sums_go_on_from_a_checkpoint(metrics_hook, tmp_path):
    whole = metrics_hook(tmp_path / "whole", period_steps=4)
    first = metrics_hook(tmp_path / "first", period_steps=4)
    second = metrics_hook(tmp_path / "second", period_steps=4)
    events = [_step(n, float(n), total=n * n / 3, last=4) for n in (1, 2, 3, 4)]
    for event in events:
        whole.after_step(event)
    for event in events[:2]:
        first.after_step(event)
    first.settle()
    second.restore(json.loads(json.dumps(first.state())))
    for event in events[2:]:
        second.after_step(event)
    assert _written(tmp_path / "first") == []
    (expected,), (resumed,) = (_written(tmp_path / name) for name in ("whole", "second"))
    for name in ("step", "loss", "learning_rate", "gradient_norm"):
        assert resumed[name] == expected[name]


@pytest.fixture
def evaluation(metrics_hook, tmp_path):
    """Returns a function that makes both hooks, a throughput, and a list of what was called.

    The list has a step and the steps of the lines that had been written by then.
    """

    def make(period_steps, *, clock=None, seconds=0.0):
        clock = clock or _Clock()
        metrics = metrics_hook(tmp_path, clock=clock)
        throughput = Throughput(clock=clock)
        called = []

        def evaluate(state, step):
            assert state == f"state {step}"
            clock.now += seconds
            called.append((step, [line["step"] for line in _written(tmp_path)]))
            return step / 100

        hook = EvaluationHook(
            evaluate, metrics, throughput, period_steps=period_steps, train_steps=5
        )
        return metrics, hook, throughput, called

    return make


@pytest.mark.parametrize(
    ("period_steps", "expected"), [(None, []), (2, [2, 4, 5]), (5, [5]), (9, [5])]
)
def test_evaluates_at_multiples_of_the_period_and_at_the_end(evaluation, period_steps, expected):
    metrics, hook, _, called = evaluation(period_steps)
    for number in range(1, 6):
        event = _step(number, 1.0, last=5)
        metrics.after_step(event)
        hook.after_step(event)
    # What was trained before an evaluation is written before it.
    assert called == [(step, list(range(1, step + 1))) for step in expected]


def test_a_score_is_of_the_step_that_was_evaluated(evaluation):
    metrics, hook, _, _ = evaluation(2)
    scores = []
    for number in range(1, 4):
        event = _step(number, 1.0)
        metrics.after_step(event)
        hook.after_step(event)
        scores.append(hook.score(number))
    assert scores == [None, 0.02, None]
    assert hook.score(2) == 0.02


def test_the_time_of_an_evaluation_is_not_that_of_training(evaluation):
    clock = _Clock()
    metrics, hook, throughput, _ = evaluation(2, clock=clock, seconds=50.0)
    for number in (1, 2):
        event = _step(number, 1.0)
        metrics.after_step(event)
        throughput.add(tokens=8.0, examples=2)
        clock.now += 1.0
        hook.after_step(event)
    assert throughput.rates()["step_seconds"] == 1.0


class _Manager(CheckpointManager):
    """Notes what it is to save."""

    def __init__(self):
        self.saved, self.closed = [], False

    def save(self, step, items, *, score=None):
        self.saved.append((step, items, score))

    def close(self):
        self.closed = True


def test_saves_at_multiples_of_the_period_and_at_the_end_what_the_step_left(metrics_hook, tmp_path):
    metrics, manager = metrics_hook(tmp_path, period_steps=100), _Manager()
    hook = CheckpointHook(manager, metrics, 2, score=lambda step: 0.25 if step == 4 else None)
    for number in range(1, 6):
        event = _step(number, 1.0, total=float(number), last=5)
        metrics.after_step(event)
        hook.after_step(event)
    assert [(step, score) for step, _, score in manager.saved] == [(2, None), (4, 0.25), (5, None)]
    for step, items, _ in manager.saved:
        assert items.state == f"state {step}"
        assert items.data == {"position": step}
        assert items.metrics["loss"] == [sum(range(1, step + 1)), step]  # the step's own included
    assert not manager.closed
    hook.close()
    assert manager.closed


def test_a_stop_saves_whatever_the_period(metrics_hook, tmp_path):
    metrics, manager = metrics_hook(tmp_path), _Manager()
    hook = CheckpointHook(manager, metrics, 100, score=lambda step: None)
    event = _step(3, 1.0, last=3)
    metrics.after_step(event)
    hook.after_step(event)
    assert [step for step, _, _ in manager.saved] == [3]
