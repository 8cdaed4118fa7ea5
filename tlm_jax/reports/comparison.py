"""Runs side by side: what each reached on the tasks that all were evaluated on."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tlm_jax.data.formats import FORMATS
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
      nll_nats: negative log-likelihood of a target token on held-out examples, by step; empty
        where the last run writes answers in another format.
      predictions: by example id, the last ones that were graded.
    """

    name: str
    accuracies: Sequence[Accuracy]
    nll_nats: Sequence[Point]
    predictions: Mapping[str, Mapping[str, Any]]

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
      task: its name; of formats of one data set, that of the data set.
      results: in the order of the runs.
    """

    task: str
    results: Sequence[RunResult]

    def against(self, first: int, second: int) -> Comparison | None:
        """Compares the last predictions of two runs, question by question.

        Returns:
          None where they have no graded questions in common.
        """
        both = self._common(first, second)
        if not both:
            return None
        return compare(
            np.array([self.results[first].predictions[name]["correct"] for name in both]),
            np.array([self.results[second].predictions[name]["correct"] for name in both]),
        )

    def newly_right(self, most: int) -> list[tuple[Mapping[str, Any], Mapping[str, Any]]]:
        """Returns predictions of the first and the last run where only the last is right.

        Those of which the last run was most certain come first: of the others some are right by
        chance, with steps that are not. Of one right answer there is one question, as others of
        it may be the same but for names.
        """
        first, last = self.results[0].predictions, self.results[-1].predictions
        found = [
            (first[name], last[name])
            for name in self._common(0, -1)
            if last[name]["correct"] and not first[name]["correct"]
        ]
        found.sort(key=lambda pair: -pair[1].get("logprob_nats", 0.0))
        by_answer: dict[Any, tuple[Mapping[str, Any], Mapping[str, Any]]] = {}
        for pair in found:
            by_answer.setdefault(pair[1].get("gold"), pair)
        return list(by_answer.values())[:most]

    def _common(self, first: int, second: int) -> list[str]:
        answered_by_second = self.results[second].predictions
        return [name for name in self.results[first].predictions if name in answered_by_second]


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
    called = list(names or (run.name for run in runs))
    tasks = [{task.name: task for task in run.tasks} for run in runs]
    if not any(_common_names(tasks)):
        # Formats of one data set ask the same questions, and cost other texts of answers.
        tasks = [{_data_set(name): task for name, task in of_run.items()} for of_run in tasks]
    common = _common_names(tasks)
    if not common:
        listed = "; ".join(f"{run.name}: {', '.join(t.name for t in run.tasks)}" for run in runs)
        raise UserError(f"the runs were evaluated on no task in common ({listed})")
    return [
        TaskComparison(
            name,
            [_result(n, of_run[name], tasks[-1][name].name) for n, of_run in zip(called, tasks)],
        )
        for name in common
    ]


def _common_names(tasks: Sequence[Mapping[str, TaskRecord]]) -> list[str]:
    return [name for name in tasks[0] if all(name in of_run for of_run in tasks)]


def _data_set(task: str) -> str:
    """Returns a task's name without its format."""
    return next((task.removesuffix(f"_{form}") for form in FORMATS if task.endswith(form)), task)


def _result(name: str, task: TaskRecord, last_task: str) -> RunResult:
    graded = {
        str(p["id"]): p
        for p in task.predictions
        if "id" in p and isinstance(p.get("correct"), bool)
    }
    nll_nats = task.metrics.get("nll_nats", ()) if task.name == last_task else ()
    return RunResult(name, task.accuracies, nll_nats, graded)
