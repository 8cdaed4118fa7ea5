"""Specialization: a teacher's solutions, chosen and aligned; students, and what they can do."""

from __future__ import annotations

import dataclasses
from typing import Any

from tlm_jax.recipes.asking import model_path
from tlm_jax.recipes.done import Done
from tlm_jax.recipes.recipe import Method, Planned
from tlm_jax.recipes.specialization.config import SpecializationConfig
from tlm_jax.recipes.specialization.plan import planned_stages
from tlm_jax.recipes.specialization.questions import read_questions
from tlm_jax.recipes.specialization.results import Results
from tlm_jax.recipes.specialization.students import (
    StudentRun,
    StudentStages,
    alignment_of,
    checkpoints_of,
    student_runs,
)
from tlm_jax.recipes.specialization.work import located
from tlm_jax.recipes.stages import Stages
from tlm_jax.runs.training.student_vocabulary import run_data


@dataclasses.dataclass(frozen=True)
class Specialization(Method):
    """Specialization, as a recipe.

    Attributes:
      config: of the method.
    """

    config: SpecializationConfig

    def plan(self) -> list[Planned]:
        return planned_stages(self.config)

    def run(self, stages: Stages, configuration: str) -> dict[str, Any]:
        return _Run(self.config, stages, configuration).run()


class _Run:
    """One run: the teacher's solutions, and all students."""

    def __init__(self, config: SpecializationConfig, stages: Stages, configuration: str):
        self._config, self._stages = config, stages
        data = run_data(config.training.data)
        sets = read_questions(config.questions, data)
        self._make = StudentStages(config, sets, data, stages.compiled, configuration)
        self._results = Results(config, stages)
        self._trained: dict[str, Done] = {}

    def run(self) -> dict[str, Any]:
        self._stages.run(self._make.questions())
        for name, run in self._config.trainings.items():
            self._trained[name] = self._stages.run(self._make.trained(name, run))
        selected = self._solutions()
        aligned: dict[str, Done] = {}
        for loss in self._config.losses:
            method = alignment_of(self._config, loss)
            if method not in aligned:
                aligned[method] = self._stages.run(self._make.align(selected, method))
        self._results.begin(selected, aligned)
        for name in self._config.starts:
            start = self._start(name)
            if start is not None:
                stage = self._make.evaluate(f"starts/{name}/evaluate", {"0": model_path(start)})
                self._results.add_start(name, self._stages.run(stage))
        for run in student_runs(self._config):
            method = alignment_of(self._config, run.loss)
            self._student(run, selected, aligned[method])
        return self._results.finish()

    def _solutions(self) -> Done:
        """Returns the chosen solutions."""
        model = self._config.teacher.model
        if model is None:
            return self._stages.run(self._make.select(None, None))
        model = located(model, self._trained)
        sampled = self._stages.run(self._make.sample(model))
        self._results.sampled = sampled
        return self._stages.run(self._make.select(sampled, model))

    def _start(self, name: str) -> str | None:
        model = self._config.starts[name]
        return None if model is None else located(model, self._trained)

    def _student(self, run: StudentRun, selected: Done, aligned: Done) -> None:
        stage = self._make.train(run, selected, aligned, self._start(run.start))
        trained = self._stages.run(stage)
        stage = self._make.evaluate(f"{run.folder}/evaluate", checkpoints_of(trained))
        self._results.add(run, trained, self._stages.run(stage))
