"""What stages of teachers and students do alike: training, ranking, writing questions."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tlm_jax.checkpoints.choice import complete_steps
from tlm_jax.checkpoints.keep import KeepPolicy
from tlm_jax.data.records import Record, write_records
from tlm_jax.data.run_data import RunData
from tlm_jax.errors import UserError
from tlm_jax.recipes import asking
from tlm_jax.recipes.done import Done, Figures
from tlm_jax.recipes.stages import Stage, on_first_host
from tlm_jax.recipes.teacher_lm.config import (
    TeacherLMConfig,
    TeacherTraining,
)
from tlm_jax.recipes.teacher_lm.questions import QuestionSets, some_records
from tlm_jax.runs.evaluation.config import EvalConfig
from tlm_jax.runs.evaluation.run import run_evaluation
from tlm_jax.runs.training.config import EvaluationConfig, RunConfig
from tlm_jax.runs.training.session import run_training
from tlm_jax.system.program_cache import ProgramCache

MODEL, EVALUATION = "model", "evaluation"
"""The MODEL_DIR, and where answers lie, in the folder of a stage."""
TEACHER_DATA = "teacher_data.jsonl"


class BaseStages:
    """What the stages of teachers and students share, and that of the questions."""

    def __init__(
        self,
        config: TeacherLMConfig,
        sets: QuestionSets,
        data: RunData,
        compiled: ProgramCache,
        configuration: str,
    ):
        """Takes the run.

        Args:
          config: of the method.
          sets: its questions.
          data: where files are.
          compiled: programs that all stages share.
          configuration: as gin text, for the directories of runs.
        """
        self.config, self.sets, self._data = config, sets, data
        self.compiled, self.configuration = compiled, configuration

    def questions(self) -> Stage:
        """Writes all questions, and the teacher's data, where they can be read."""
        sets = self.sets
        shown: dict[str, Sequence[Record]] = {
            "train": sets.train,
            "dev": sets.dev,
            "test": sets.test,
        }
        if isinstance(self.config.teacher, TeacherTraining):
            shown[TEACHER_DATA.removesuffix(".jsonl")] = _five_elements(
                self.config.teacher, sets, self.config.questions.seed, self._data
            )

        def work(folder: Path) -> Figures:
            for name, records in shown.items():
                write_records(folder / f"{name}.jsonl", records)
            return {**{name: len(r) for name, r in shown.items()}, "left_out": sets.left_out}

        return Stage(
            "questions",
            "other",
            lambda folder: on_first_host(folder, work),
            [f"{name}.jsonl" for name in shown],
            {name: asking.records_digest(records) for name, records in shown.items()},
        )

    def train_model(self, folder: Path, run: RunConfig) -> int:
        """Trains a model in the folder of a stage, keeping all checkpoints; returns its steps."""
        run = dataclasses.replace(
            run,
            model_dir=str(folder / MODEL),
            evaluation=EvaluationConfig(),
            checkpoints=dataclasses.replace(run.checkpoints, keep=KeepPolicy(last=None)),
        )
        return run_training(run, self.configuration, self.compiled)

    def eval_config(
        self,
        folder: Path,
        checkpoints: Mapping[str, Path],
        tasks: Sequence[str],
        run: RunConfig,
        form: str,
    ) -> EvalConfig:
        """Returns the evaluation of checkpoints of a training run by rank."""
        return EvalConfig(
            str(folder / EVALUATION),
            [str(path) for path in checkpoints.values()],
            list(tasks),
            self.config.asked_lengths,
            split="train",
            too_long="keep_end",
            modes=("rank",),
            rank_format=form,
            batch_size=self.config.eval_batch_size,
            show_questions=20,
            dtype=run.model.dtype,
            mesh=run.mesh,
            data=dataclasses.replace(run.data, split="train"),
        )

    def evaluated(
        self, config: EvalConfig, checkpoints: Mapping[str, Path]
    ) -> dict[str, dict[str, Any]]:
        """Returns what an evaluation found, by step and task."""
        found = run_evaluation(config, self.configuration, self.compiled)
        steps = {str(path): step for step, path in checkpoints.items()}
        by_name = {name: steps[path] for name, path in found["checkpoints"].items()}
        names = ("questions", "right", "accuracy", "accuracy_low", "accuracy_high")
        told: dict[str, dict[str, Any]] = {step: {} for step in checkpoints}
        for one in found["results"]:
            figures = {name: one[name] for name in names} | {"checkpoint": one["checkpoint"]}
            told[by_name[one["checkpoint"]]][one["task"]] = figures
        return told


def checkpoints_of(trained: Done) -> dict[str, Path]:
    """Returns the checkpoints of a training stage, oldest first, by their steps.

    Those of its period and the last one: a run that was stopped has left another one there.
    """
    folder, period = trained.path(MODEL) / "checkpoints", trained.figures["period"]
    steps = complete_steps(folder)
    return {
        str(step): folder / str(step) for step in steps if step % period == 0 or step == max(steps)
    }


def answers_path(found: Mapping[str, Any], task: str, mode: str) -> str:
    """Returns where the answers of an evaluated checkpoint lie, in the folder of the stage."""
    checkpoint = str(found["checkpoint"]).replace("/", "_")
    return f"{EVALUATION}/samples/{checkpoint}/{task}/{mode}.jsonl"


def _five_elements(
    teacher: TeacherTraining, sets: QuestionSets, seed: int, data: RunData
) -> list[Record]:
    """Returns the records that the teacher learns from, without the questions of the run."""
    asked = {r.question_words() for r in (*sets.train, *sets.dev, *sets.test)}
    found = []
    for name in dict.fromkeys(teacher.data):
        drawn = some_records(name, "train", teacher.num_records, "TEACHER_RECORDS", seed, data)
        found += [record for record in drawn if record.question_words() not in asked]
    if not found:
        raise UserError(
            "every record of TEACHER_DATA is a question of the run: name others, or raise "
            "TEACHER_RECORDS"
        )
    return found
