"""The students: which there are, and the stages that train and evaluate each."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tlm_jax.checkpoints.choice import complete_steps
from tlm_jax.checkpoints.keep import KeepPolicy
from tlm_jax.data.records import read_json_lines, read_records
from tlm_jax.data.registry import WITH_TEACHER
from tlm_jax.recipes import asking
from tlm_jax.recipes.done import Done, Figures
from tlm_jax.recipes.specialization import aligning, selection
from tlm_jax.recipes.specialization.config import SpecializationConfig
from tlm_jax.recipes.specialization.losses import LOSSES, Alignment
from tlm_jax.recipes.specialization.rows import (
    SPLIT,
    RowSettings,
    SolutionRows,
    cut_prompts,
    registered,
)
from tlm_jax.recipes.specialization.work import MODEL, SolutionStages, kept
from tlm_jax.recipes.stages import Stage
from tlm_jax.recipes.trainings import decides, vocabulary_digest
from tlm_jax.runs.evaluation.run import run_evaluation
from tlm_jax.runs.training.config import RunConfig
from tlm_jax.runs.training.student_vocabulary import run_data

EVALUATION = "evaluation"
"""Where the answers lie in the folder of a stage that evaluates."""
_TASK = "mixture_or_task_name"
"""Of a training run: a hash of its rows, which say more."""
_LOOKED_AT = 1000
"""Solutions whose prompts are looked at for demonstrations that have no room."""


class StudentRun(NamedTuple):
    """One student: a cell of the comparison.

    Attributes:
      seed, mixture, start, loss: by their names in the configuration.
    """

    seed: int
    mixture: str
    start: str
    loss: str

    @property
    def folder(self) -> str:
        return f"seed-{self.seed}/{self.mixture}/{self.start}/{self.loss}"


def student_runs(config: SpecializationConfig) -> list[StudentRun]:
    """Returns all runs in their order; those that are compared first of all stand together."""
    return [
        StudentRun(seed, mixture, start, loss)
        for seed in config.seeds
        for start in config.starts
        for mixture in config.mixtures
        for loss in config.losses
    ]


def alignment_of(config: SpecializationConfig, loss: str) -> Alignment:
    """Returns how a loss's distributions are aligned."""
    return "dtw" if LOSSES[loss].official else config.alignment


class StudentStages(SolutionStages):
    """Makes the stages of students, too."""

    def train(self, run: StudentRun, selected: Done, aligned: Done, start: str | None) -> Stage:
        """Trains a student, and asks it the development set at every checkpoint."""
        settings, config = self._rows(run), self._student(run, start)
        loss = LOSSES[run.loss]
        join = loss.join([""], self.config.alignment)
        name = settings.task + (WITH_TEACHER if loss.distributions else "")
        config = dataclasses.replace(config, mixture_or_task_name=name, teacher=join)

        def work(folder: Path) -> Figures:
            source = SolutionRows(settings, self.sets.pool, self.vocabulary)
            registered(source, settings)
            examples = aligned.path(aligning.EXAMPLES)
            data = dataclasses.replace(config.data, examples_file=str(examples))
            caches = [str(selected.path(selection.CACHE))]
            join = loss.join(caches, self.config.alignment)
            steps = self.train_model(folder, dataclasses.replace(config, data=data, teacher=join))
            records = list(read_records(examples))[:_LOOKED_AT]
            bound = source.for_run(run_data(data))
            return {
                "steps": steps,
                "solutions": aligned.figures["examples"],
                "cut_prompts": cut_prompts(bound, records, settings.mixture),
                "looked_at": len(records),
                "curve": curve(folder / MODEL, self._dev_tasks()),
            }

        return Stage(
            f"{run.folder}/train",
            "training",
            work,
            [MODEL],
            {
                "rows": settings,
                "training": {
                    name: value for name, value in decides(config).items() if name != _TASK
                },
                "evaluation": self._dev(config),
                "checkpoints": config.checkpoints.period_steps,
                "development set": asking.records_digest(self.sets.dev),
                "demonstrations": self.sets.pool_digest,
            },
            {
                "the solutions": aligned.path(aligning.EXAMPLES),
                **(kept(selected) if loss.distributions else {}),
                **({} if start is None else {"the model it starts from": asking.model_path(start)}),
            },
        )

    def evaluate(self, name: str, checkpoints: Mapping[str, Path]) -> Stage:
        """Asks checkpoints all sets by all prompts.

        Args:
          name: of the stage.
          checkpoints: by what they are called in the figures.
        """
        evaluation, run = self.config.evaluation, self.config.training

        def work(folder: Path) -> Figures:
            config = evaluation.config(folder / EVALUATION, list(checkpoints.values()), run)
            found = run_evaluation(config, self.configuration, self.compiled)
            names = {path: short for short, path in found["checkpoints"].items()}
            return {
                called: evaluation.figures(found, folder / EVALUATION, names[str(path)])
                for called, path in checkpoints.items()
            }

        return Stage(
            name,
            "evaluation",
            work,
            [f"{EVALUATION}/results.json"],
            {
                "evaluation": evaluation,
                "questions": self.asked_digest,
                "lengths": dict(evaluation.feature_lengths or self.lengths),
                "dtype": run.model.dtype,
                "vocabulary": vocabulary_digest(run.data),
                "bos and eos": [run.data.add_bos, run.data.add_eos],
            },
            {f"checkpoint {called}": path for called, path in checkpoints.items()},
        )

    @functools.cached_property
    def asked_digest(self) -> str:
        """A hash of all that checkpoints are asked."""
        return self.config.evaluation.digest(self.config.training)

    def _rows(self, run: StudentRun) -> RowSettings:
        training = self.config.training
        return RowSettings(
            self.config.mixtures[run.mixture],
            self.config.mixing,
            training.data.demonstrations,
            training.batch_size,
            training.micro_batches,
            run.seed,
            self.lengths["inputs"],
        )

    def _student(self, run: StudentRun, start: str | None) -> RunConfig:
        """Returns the training run without its directory, task and teacher."""
        template = self.config.training
        return dataclasses.replace(
            template,
            seed=run.seed,
            loss=LOSSES[run.loss].config(template.loss),
            initial_checkpoint_path=start,
            data=dataclasses.replace(template.data, examples_file=None, split=SPLIT),
            evaluation=dataclasses.replace(
                template.evaluation,
                tasks=list(self._dev_tasks().values()),
                split=self.config.questions.dev_split,
                num_examples=self.config.questions.num_dev,
                examples_seed=self.config.questions.seed,
                period_steps=template.checkpoints.period_steps,
            ),
            checkpoints=dataclasses.replace(template.checkpoints, keep=KeepPolicy(last=None)),
        )

    def _dev_tasks(self) -> dict[str, str]:
        """Returns the tasks of the development set by format."""
        forms = dict.fromkeys((*self.config.evaluation.prompts, *self.config.choose_by))
        return {form: f"{self.config.questions.data_set}_{form}" for form in forms}

    def _dev(self, config: RunConfig) -> dict[str, Any]:
        evaluation = config.evaluation
        return {
            "tasks": list(evaluation.tasks),
            "num_examples": evaluation.num_examples,
            "max_decode_tokens": evaluation.max_decode_tokens,
            "stop": list(evaluation.stop),
        }


def checkpoints_of(trained: Done) -> dict[str, Path]:
    """Returns the checkpoints of a training stage, oldest first, by their steps.

    Those that were asked the development set: a run that was stopped has left another one.
    """
    folder, asked = trained.path(MODEL) / "checkpoints", trained.figures["curve"]
    steps = [str(step) for step in complete_steps(folder)]
    return {step: folder / step for step in steps if step in asked}


def curve(model_dir: Path, tasks: Mapping[str, str]) -> dict[str, dict[str, dict[str, float]]]:
    """Returns what a run's own evaluations found, by step and format."""
    by_task = {f"eval/{task}": form for form, task in tasks.items()}
    names = ("accuracy", "accuracy_low", "accuracy_high", "nll_nats", "num_examples")
    found: dict[str, dict[str, dict[str, float]]] = {}
    for _, row in read_json_lines(model_dir / "metrics.jsonl"):
        if row.get("split") in by_task:
            told = {name: row[name] for name in names if name in row}
            found.setdefault(str(row["step"]), {})[by_task[row["split"]]] = told
    return found
