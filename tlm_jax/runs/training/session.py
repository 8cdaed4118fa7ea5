"""A training run from its configuration to its report."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

from tlm_jax import models
from tlm_jax.checkpoints.manager import CheckpointManager
from tlm_jax.checkpoints.pretrained import Pretrained
from tlm_jax.data.pipeline.pipeline import Pipeline
from tlm_jax.evaluation.eval_result import EvalResult
from tlm_jax.evaluation.evaluator import Evaluator
from tlm_jax.losses.reduction import canonical_normalization
from tlm_jax.metrics.progress import Progress
from tlm_jax.metrics.throughput import Throughput, peak_flops
from tlm_jax.metrics.writers import MetricsWriter
from tlm_jax.reports.run_page import write_report
from tlm_jax.runs.opened.reading import student_reading
from tlm_jax.runs.training import adapters, console, data, distilling, files, parts, pretrained
from tlm_jax.runs.training.config import RunConfig
from tlm_jax.runs.training.frozen_base import load_base
from tlm_jax.runs.training.normalization import with_settled_normalization
from tlm_jax.runs.training.step_flops import step_flops
from tlm_jax.runs.training.student_vocabulary import run_data, student_vocabulary
from tlm_jax.system.interruption import Stopped
from tlm_jax.system.program_cache import ProgramCache
from tlm_jax.training import batches, hooks, loop
from tlm_jax.training.state import TrainState
from tlm_jax.training.step import StepMetrics
from tlm_jax.training.stopping import StopRequest
from tlm_jax.types import Batch


def run_training(run: RunConfig, configuration: str, compiled: ProgramCache | None = None) -> int:
    """Trains until `train_steps`, or until SIGTERM or Ctrl-C; a second call there continues.

    One after the last step trains nothing, and writes what follows training once more.

    Args:
      run: the configuration.
      configuration: the same as gin text, for MODEL_DIR.
      compiled: programs that runs in this process share.

    Returns:
      The number of steps taken in all.

    Raises:
      Stopped: a signal ended the run; everything is saved.
    """
    started = time.perf_counter()
    with _Session(run, configuration, compiled or ProgramCache()) as session:
        if session.first_step >= run.train_steps:
            console.say(
                f"{session.model_dir} has had {session.first_step} of {run.train_steps} steps: "
                "nothing to do. Raise TRAIN_STEPS to go on."
            )
            # A run that was killed after its last step has not come to these.
            session.hand_over(session.state)
            return session.first_step
        stop = StopRequest()
        state, step = session.train(stop)
        session.hand_over(state)
        console.finish(
            session.model_dir,
            session.results,
            show_examples=run.evaluation.show_examples,
            seconds=time.perf_counter() - started,
        )
    if stop.number is not None:
        raise Stopped(stop.number, after=f"after step {step} of {run.train_steps}")
    return step


class _Session:
    """The parts of one run, made in the order in which they depend on each other.

    A context manager: checkpoints and data are let go of on every way out, also of `__init__`.
    """

    def __init__(self, run: RunConfig, configuration: str, compiled: ProgramCache):
        with contextlib.ExitStack() as opened:
            self.model_dir: Path = files.open_model_dir(run.model_dir)
            self.run = run = with_settled_normalization(run)
            self.compiled = compiled
            self.parts = parts.build_parts(run, compiled=compiled)
            self.rows = batches.host_rows(run.batch_size, self.parts.batch_sharding)
            read = run_data(run.data)
            self.reading = student_reading(run, student_vocabulary(run))
            self.pipeline: Pipeline = data.open_pipeline(
                run, self.rows, self.parts.teacher, read, self.reading
            )
            opened.callback(self.pipeline.close)
            self.eval_sets = data.open_eval_sets(run, read, self.reading)
            self.base = load_base(run, self.parts, compiled)
            self.manager = CheckpointManager(
                self.model_dir / "checkpoints",
                keep=run.checkpoints.keep,
                base=self.base.identity if self.base else None,
                loss_normalization=canonical_normalization(run.loss.normalization),
                teacher=self.parts.teacher.identity() if self.parts.teacher else None,
                announce=console.say,
            )
            opened.callback(self.manager.release)
            self.results: list[EvalResult] = []
            self.frozen = self.base.params if self.base else None
            self.step_frozen = distilling.load_frozen(self.parts, self.frozen)
            self.sampler = distilling.on_policy_sampler(run, self.parts, self.pipeline.vocabulary)
            self.source: Pretrained | None = self.base.source if self.base else None
            self.first_step, self.state, self._metrics_state, origin = self._starting_point()
            self.pipeline.start()  # makes the first batch while the step compiles
            files.write_configuration(self.model_dir, configuration)
            info = models.model_info(run.model, self.parts.mesh)
            files.write_text(self.model_dir / "model-info.txt", info)
            pretrained.describe_model(
                self.model_dir, run, self.source, self.pipeline.vocabulary, self.reading
            )
            console.start(run, self.parts.mesh, origin)
            if self.base is not None:
                console.say(adapters.summary(run, self.base, self.state))
            if self.parts.teacher is not None:
                console.say(f"teacher {self.parts.teacher.describe()}")
            if self.parts.matching is not None:
                console.say(f"matching {self.parts.matching.describe()}")
            self._opened = opened.pop_all()

    def __enter__(self) -> _Session:
        return self

    def __exit__(self, *unused: object) -> None:
        self._opened.close()

    def train(self, stop: StopRequest) -> tuple[TrainState, int]:
        """Runs the loop; returns the last state and the number of steps taken in all."""
        run = self.run
        self.progress = Progress(self.first_step, run.train_steps)
        self._next_step = self.first_step
        self.writer = MetricsWriter(
            self.model_dir, resumed_step=self.first_step if self.first_step else None
        )
        self._opened.callback(self.writer.close)
        throughput = Throughput(peak_flops_per_second=_peak_flops_per_second())
        metrics = hooks.MetricsHook(
            writer=self.writer,
            progress=self.progress,
            throughput=throughput,
            period_steps=run.log_period_steps,
            on_non_finite=run.on_non_finite,
            step_flops=step_flops(run, _shapes(run, self.parts), self.parts.teacher),
            host_count=self.rows.count,
        )
        metrics.restore(self._metrics_state)
        evaluation = hooks.EvaluationHook(
            self._evaluator(),
            metrics,
            throughput,
            # Without tasks there is nothing to evaluate at any step.
            period_steps=run.evaluation.period_steps if self.eval_sets else None,
            train_steps=run.train_steps,
        )
        checkpoints = hooks.CheckpointHook(
            self.manager, metrics, run.checkpoints.period_steps, score=evaluation.score
        )
        try:
            state, step = loop.run_loop(
                state=self.state,
                train_step=self._train_step,
                batches=loop.feed(self._next_batch),
                first_step=self.first_step,
                train_steps=run.train_steps,
                hooks=[metrics, evaluation, checkpoints],
                stop=stop,
            )
        finally:
            self.pipeline.close()
        tokens = self.parts.teacher.tokens if self.parts.teacher is not None else None
        console.print_truncation(self.pipeline.statistics, run.feature_lengths, tokens)
        distilling.print_joined(self.pipeline, self.sampler)
        return state, step

    def hand_over(self, state: TrainState) -> None:
        """Writes what is for others: the adapters for PEFT, if there are any, and the report."""
        if self.base is not None:
            adapters.export(self.run, self.base, state.params)
        if jax.process_index() == 0:
            write_report(self.model_dir)

    def _starting_point(self) -> tuple[int, TrainState, dict[str, Any], str]:
        """Returns the step, state, metrics in flight and a phrase for where they come from.

        1. The newest whole checkpoint of MODEL_DIR, with the data position and metrics it holds.
        2. Parameters of INITIAL_CHECKPOINT_PATH; a new optimizer state, or the one that T5X saved
           there; data from the start.
        3. New parameters from the seed.

        With adapters, 2 and 3 are where the frozen base comes from, whichever of them it is.
        """
        restored = self.manager.restore(self.parts.abstract_state)
        if restored is not None:
            step, items = restored
            self.pipeline.restore(items.data)
            return step, items.state, dict(items.metrics), f"going on from checkpoint {step}"
        state = self.parts.initial_state(self.run.seed)
        if self.base is not None:
            params, origin = adapters.initial_adapters(self.run, self.base, state.params)
            return 0, state._replace(params=params), {}, origin
        initial = self.run.initial_checkpoint_path
        if initial is None:
            return 0, state, {}, f"new parameters from seed {self.run.seed}"
        self.source, state = pretrained.initial_state(self.run, self.parts.abstract_state, state)
        what = "parameters and optimizer" if self.run.restore_optimizer else "parameters"
        return int(state.step), state, {}, f"{what} from {initial}"

    def _train_step(self, state: TrainState, batch: Batch) -> tuple[TrainState, StepMetrics]:
        if self.sampler is not None:
            batch = self.sampler(self.frozen, state.params, batch, self._next_step)
        self._next_step += 1
        return self.parts.train_step(state, batch, self.step_frozen)

    def _next_batch(self) -> tuple[Batch, Sequence[Sequence[str]], Any]:
        batch = next(self.pipeline)
        arrays = batches.to_global(batch.arrays, self.parts.batch_sharding, self.rows)
        return arrays, batch.example_ids, self.pipeline.state

    def _evaluator(self):
        """Returns the function that evaluates a state and reports what it finds."""
        evaluation = self.run.evaluation
        evaluator = Evaluator(
            self.eval_sets,
            self.run.model,
            max_decode_steps=evaluation.max_decode_tokens or self.run.feature_lengths["targets"],
            batch_size=evaluation.batch_size,
            stop=evaluation.stop,
            output_dir=self.model_dir / "eval",
            mesh=self.parts.mesh,
            compiled=self.compiled,
        )

        def evaluate(state: TrainState, step: int) -> float | None:
            params = self.parts.trainable.whole(self.frozen, state.params)
            self.results = evaluator.evaluate(params, step)
            for result in self.results:
                self.writer.write(step, f"eval/{result.task}", result.metrics())
                self.progress.line(console.evaluation_line(result))
            accuracies = [r.accuracy for r in self.results if r.accuracy is not None]
            return sum(accuracies) / len(accuracies) if accuracies else None

        return evaluate


def _peak_flops_per_second() -> float | None:
    """Returns the peak of all devices together by their data sheets; None where one has none."""
    peaks = [peak_flops(device) for device in jax.devices()]
    return sum(peak for peak in peaks if peak) if all(peaks) else None


def _shapes(run: RunConfig, built: parts.Parts) -> dict[str, Any]:
    return parts.abstract_batch(run, built.batch_sharding, built.teacher)
