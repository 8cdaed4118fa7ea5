"""Runs side by side: what each reached on the tasks that all were evaluated on."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from tlm_jax.errors import UserError
from tlm_jax.evaluation.statistics import Comparison, compare
from tlm_jax.reports.chart import Point
from tlm_jax.reports.run_record import Accuracy, RunRecord, TaskRecord, read_run


@dataclasses.dataclass(frozen=True)
class RunResult:
    """What a run reached on a task.

    Attributes:
      name: of the run.
      accuracies: by step, oldest first; empty for a task without right answers.
      nll_nats: negative log-likelihood of a target token on held-out examples, by step.
      correct: by example id, whether its last prediction is right.
    """

    name: str
    accuracies: Sequence[Accuracy]
    nll_nats: Sequence[Point]
    correct: Mapping[str, bool]

    @property
    def accuracy(self) -> Accuracy | None:
        """The last one."""
        return self.accuracies[-1] if self.accuracies else None

    @property
    def final_nll_nats(self) -> float | None:
        """The last one; None where it was not finite or not measured."""
        return self.nll_nats[-1][1] if self.nll_nats else None


@dataclasses.dataclass(frozen=True)
class TaskComparison:
    """All runs on one task.

    Attributes:
      task: its name.
      results: in the order of the runs.
    """

    task: str
    results: Sequence[RunResult]

    def against(self, first: int, second: int) -> Comparison | None:
        """Compares the last predictions of two runs, question by question.

        Returns:
          None where they have no graded questions in common.
        """
        first_right, second_right = self.results[first].correct, self.results[second].correct
        both = [name for name in first_right if name in second_right]
        if not both:
            return None

        return compare(
            np.array([first_right[name] for name in both]),
            np.array([second_right[name] for name in both]),
        )


def read_comparison(
    model_dirs: Sequence[Path], names: Sequence[str] | None = None
) -> list[TaskComparison]:
    """Reads the runs' evaluations.

    Args:
      model_dirs: of the runs.
      names: what they are called; by default their directories' names.

    Raises:
      UserError: a run has no evaluation, or there is no task in common.
    """
    runs: list[RunRecord] = []
    for model_dir in model_dirs:
        run = read_run(model_dir) if model_dir.is_dir() else None
        if run is None or not run.tasks:
            raise UserError(
                f"{model_dir} holds no evaluations to compare (eval/TASK/step_N.jsonl): is it the "
                "MODEL_DIR of a run with EVAL_TASKS?"
            )
        runs.append(run)
    tasks = [{task.name: task for task in run.tasks} for run in runs]
    common = [name for name in tasks[0] if all(name in of_run for of_run in tasks)]
    if not common:
        listed = "; ".join(f"{run.name}: {', '.join(of_run)}" for run, of_run in zip(runs, tasks))
        raise UserError(f"the runs were evaluated on no task in common ({listed})")
    called = list(names or (run.name for run in runs))
    return [
        TaskComparison(name, [_result(n, of_run[name]) for n, of_run in zip(called, tasks)])
        for name in common
    ]


def _result(name: str, task: TaskRecord) -> RunResult:
    correct = {
        str(p["id"]): p["correct"]
        for p in task.predictions
        if "id" in p and isinstance(p.get("correct"), bool)
    }
    return RunResult(name, task.accuracies, task.metrics.get("nll_nats", ()), correct)
