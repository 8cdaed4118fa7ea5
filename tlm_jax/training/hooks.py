"""Hooks after steps: metrics are reported, checkpoints saved, held-out tasks evaluated."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from tlm_jax.checkpoints.manager import CheckpointManager, Items
from tlm_jax.errors import UserError
from tlm_jax.metrics.accumulators import Accumulator, InFlight
from tlm_jax.metrics.progress import Progress
from tlm_jax.metrics.throughput import Throughput
from tlm_jax.metrics.writers import MetricsWriter
from tlm_jax.training.loop import Hook, StepEvent
from tlm_jax.training.state import TrainState
from tlm_jax.training.step import StepMetrics


@dataclass(frozen=True)
class _Dispatched:
    """What the host keeps of a step until its metrics have been computed."""

    example_ids: Sequence[Sequence[str]]
    wait_seconds: float


class MetricsHook(Hook):
    """Reads each step's metrics once the next is dispatched; writes means at multiples of a period.

    Raises UserError (policy "stop") or prints a line (policy "skip") for a step whose loss or
    gradient was not finite, with the ids of this host's examples in it.
    """

    def __init__(
        self,
        *,
        writer: MetricsWriter,
        progress: Progress,
        throughput: Throughput,
        period_steps: int,
        on_non_finite: Literal["skip", "stop"],
        step_flops: float,
        host_count: int = 1,
    ):
        """Prepares the hook.

        Args:
          writer: gets one line a period.
          progress: shows it.
          throughput: counts.
          period_steps: how many steps a line is the mean of.
          on_non_finite: what happens after a step that was not applied.
          step_flops: of a batch: forward, backward, and what a teacher computes.
          host_count: how many blocks of rows a batch has; this host knows the examples of one.
        """
        self._writer, self._progress, self._throughput = writer, progress, throughput
        self._period_steps = period_steps
        self._on_non_finite = on_non_finite
        self._no_targets_reported = False
        self._step_flops = step_flops
        self._host_count = host_count
        self._in_flight = InFlight()
        self._accumulator = Accumulator()
        self._dispatched: dict[int, _Dispatched] = {}
        self._compiled = False

    def after_step(self, event: StepEvent) -> None:
        self._dispatched[event.step] = _Dispatched(event.fed.example_ids, event.fed.wait_seconds)
        self._settle(self._in_flight.put(event.step, event.metrics))
        if event.last:
            self.settle()

    def settle(self) -> None:
        """Waits for the last dispatched step and takes its metrics in."""
        self._settle(self._in_flight.take())

    def state(self) -> dict[str, Any]:
        """Returns the sums since the last line, for a checkpoint."""
        return self._accumulator.state()

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on from sums that a checkpoint held."""
        self._accumulator.restore(state)

    def close(self) -> None:
        self._progress.close()
        self._writer.close()

    def _settle(self, computed: tuple[int, StepMetrics] | None) -> None:
        if computed is None:
            return
        step, metrics = computed
        dispatched = self._dispatched.pop(step)
        if not self._compiled:
            # The first step compiled; counting it would tell nothing of the speed.
            self._compiled = True
            self._throughput.reset()
        else:
            self._throughput.add(
                tokens=float(metrics.scalars["tokens"]),
                examples=self._host_count * sum(map(len, dispatched.example_ids)),
                model_flops=self._step_flops,
                wait_seconds=dispatched.wait_seconds,
            )
        if not float(metrics.sums["loss"].weight):
            self._report_no_targets(step, dispatched.example_ids)
        if bool(metrics.finite):
            scalars = {k: v for k, v in metrics.scalars.items() if k != "tokens"}
            self._accumulator.add(metrics.sums, scalars)
        else:
            self._report_non_finite(step, metrics, dispatched.example_ids)
        self._progress.advance(step)
        if step % self._period_steps == 0:
            self._write(step)

    def _write(self, step: int) -> None:
        values = self._accumulator.means() | self._throughput.rates()
        self._accumulator.reset()
        self._throughput.reset()
        self._writer.write(step, "train", values)
        self._progress.report(step, values)

    def _report_no_targets(self, step: int, example_ids: Sequence[Sequence[str]]) -> None:
        """Says, the first time, why the loss of a step is nan."""
        if self._no_targets_reported:
            return
        self._no_targets_reported = True
        ids = [example_id for row in example_ids for example_id in row]
        self._progress.line(
            f"note: step {step} has no loss (nan), and nothing to learn from: no target token of "
            "its examples has weight: they have none, TASK_FEATURE_LENGTHS leaves none, or no "
            f"row of a teacher. It changes no parameter; examples: {', '.join(ids)}"
        )

    def _report_non_finite(
        self, step: int, metrics: StepMetrics, example_ids: Sequence[Sequence[str]]
    ) -> None:
        loss = metrics.sums["loss"]
        mean = float(np.float32(loss.total)) / max(float(loss.weight), 1.0)
        ids = [example_id for row in example_ids for example_id in row]
        message = (
            f"step {step}: loss is {mean:g} and gradient norm "
            f"{float(metrics.scalars['gradient_norm']):g}; the update was not applied; "
            f"examples: {', '.join(ids)}"
        )
        self._writer.write(step, "non_finite", {"loss": mean})
        if self._on_non_finite == "stop":
            raise UserError(
                f"{message}. Lower the learning rate, look at these examples, or set "
                "ON_NON_FINITE='skip' to go on without them."
            )
        self._progress.line(message)


class EvaluationHook(Hook):
    """Evaluates at multiples of a period and at the end, with the clock of training stopped."""

    def __init__(
        self,
        evaluate: Callable[[TrainState, int], float | None],
        metrics: MetricsHook,
        throughput: Throughput,
        *,
        period_steps: int | None,
        train_steps: int,
    ):
        """Prepares the hook.

        Args:
          evaluate: called with a state and its step; returns what checkpoints are ranked by.
          metrics: has to take in the steps before an evaluation, which would wait for them anyway.
          throughput: its clock is stopped meanwhile.
          period_steps: None evaluates never.
          train_steps: the last step is evaluated whatever the period.
        """
        self._evaluate, self._metrics, self._throughput = evaluate, metrics, throughput
        self._period_steps, self._train_steps = period_steps, train_steps
        self._scored: tuple[int, float | None] = (-1, None)

    def after_step(self, event: StepEvent) -> None:
        if self._period_steps is None:
            return
        if event.step % self._period_steps == 0 or event.step == self._train_steps:
            self._metrics.settle()
            self._throughput.pause()
            self._scored = (event.step, self._evaluate(event.state, event.step))
            self._throughput.resume()

    def score(self, step: int) -> float | None:
        """Returns the score of an evaluation at `step`, if there was one."""
        return self._scored[1] if self._scored[0] == step else None


class CheckpointHook(Hook):
    """Saves at multiples of a period, at the end, and when a stop was asked for.

    Comes after the evaluation: a run killed between the two would never make it up.
    """

    def __init__(
        self,
        manager: CheckpointManager,
        metrics: MetricsHook,
        period_steps: int,
        *,
        score: Callable[[int], float | None],
    ):
        """Prepares the hook.

        Args:
          manager: saves.
          metrics: what it has in flight is saved too.
          period_steps: of saving.
          score: returns what a step's checkpoint is ranked by, if it was evaluated.
        """
        self._manager, self._metrics, self._period_steps = manager, metrics, period_steps
        self._score = score

    def after_step(self, event: StepEvent) -> None:
        if event.last or event.step % self._period_steps == 0:
            # What this step adds to the means must be in the checkpoint that says it was taken.
            self._metrics.settle()
            items = Items(event.state, event.fed.data_state(), self._metrics.state())
            self._manager.save(event.step, items, score=self._score(event.step))

    def close(self) -> None:
        self._manager.close()
