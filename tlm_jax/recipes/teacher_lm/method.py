"""TeacherLM: a teacher in three stages, an enriched data set, and students of every format."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from tlm_jax.recipes.done import Done
from tlm_jax.recipes.recipe import Method, Planned
from tlm_jax.recipes.stages import Stages
from tlm_jax.recipes.teacher_lm.config import (
    ALL_FIELDS,
    MULTI_TASK,
    TeacherLMConfig,
    TeacherTraining,
)
from tlm_jax.recipes.teacher_lm.plan import planned_stages
from tlm_jax.recipes.teacher_lm.questions import read_questions
from tlm_jax.recipes.teacher_lm.results import Results
from tlm_jax.recipes.teacher_lm.students import StudentRun, StudentStages, is_mid, student_runs
from tlm_jax.recipes.teacher_lm.work import checkpoints_of
from tlm_jax.runs.training.student_vocabulary import run_data


@dataclasses.dataclass(frozen=True)
class TeacherLM(Method):
    """TeacherLM, as a recipe.

    Attributes:
      config: of the method.
    """

    config: TeacherLMConfig

    def plan(self) -> list[Planned]:
        return planned_stages(self.config)

    def run(self, stages: Stages, configuration: str) -> dict[str, Any]:
        return _Run(self.config, stages, configuration).run()


class _Run:
    """One run: the teacher, what it writes, and all students."""

    def __init__(self, config: TeacherLMConfig, stages: Stages, configuration: str):
        self._config, self._stages = config, stages
        data = run_data(config.data)
        self._sets = read_questions(config.questions, config.layout, data)
        self._make = StudentStages(config, self._sets, data, stages.compiled, configuration)
        self._results = Results(config, stages, self._sets)

    def run(self) -> dict[str, Any]:
        questions = self._stages.run(self._make.questions())
        teachers = self._teachers(questions)
        asked = {
            field: self._stages.run(self._make.ask(field, teachers[field]))
            for field in self._config.asked
        }
        records = self._stages.run(self._make.enrich(asked))
        self._results.begin(records)
        for run in student_runs(self._config):
            self._student(run, records, questions)
        return self._results.finish()

    def _teachers(self, questions: Done) -> Mapping[str, str]:
        """Returns the model that writes each field."""
        teacher, fields = self._config.teacher, self._config.asked
        if isinstance(teacher, str):
            return dict.fromkeys(fields, teacher)
        if not isinstance(teacher, TeacherTraining):
            return teacher
        if not fields:
            return {}
        model = self._taught(MULTI_TASK, questions, teacher.training.initial_checkpoint_path)
        model = self._taught(ALL_FIELDS, questions, model)
        return {field: self._taught(field, questions, model) for field in fields}

    def _taught(self, name: str, questions: Done, start: str | None) -> str:
        """Returns the checkpoint that a stage of the teacher has chosen."""
        trained = self._stages.run(self._make.teach(name, questions, start))
        chosen = self._stages.run(self._make.choose(name, trained))
        self._results.add_teacher(name, chosen)
        return str(checkpoints_of(trained)[chosen.figures["chosen"]])

    def _student(self, run: StudentRun, records: Done, questions: Done) -> None:
        trained = self._stages.run(self._make.train(run, records))
        evaluated = self._stages.run(self._make.evaluate(run, trained, questions))
        step = self._results.add(run, trained, evaluated)
        if self._config.voting.num_samples and is_mid(run.form):
            stage = self._make.vote(run, checkpoints_of(trained)[step], questions)
            self._results.add_votes(run, self._stages.run(stage))
