"""The students: which there are, and the stages that train and evaluate each."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, NamedTuple, cast

from tlm_jax.data.formatted import EMBEDDED_VOCABULARY
from tlm_jax.data.run_data import RunData
from tlm_jax.data.teacher_lm.language import language_by_name
from tlm_jax.data.teacher_lm.students import STUDENT_FORMATS
from tlm_jax.data.teacher_lm.tasks import Learned
from tlm_jax.recipes.asking import model_path
from tlm_jax.recipes.done import Done, Figures
from tlm_jax.recipes.stages import Stage
from tlm_jax.recipes.teacher_lm.config import TeacherLMConfig
from tlm_jax.recipes.teacher_lm.teaching import ROWS, TeacherStages
from tlm_jax.recipes.teacher_lm.texts import SPLIT, registered_task, source_of
from tlm_jax.recipes.teacher_lm.work import (
    EVALUATION,
    MODEL,
    answers_path,
    checkpoints_of,
)
from tlm_jax.recipes.trainings import decides, vocabulary_digest
from tlm_jax.runs.evaluation.config import EvalConfig
from tlm_jax.runs.training.config import RunConfig
from tlm_jax.runs.training.student_vocabulary import named_vocabulary

_TASK = "mixture_or_task_name"
"""Of a training run: made from the rows, which are read."""


class StudentRun(NamedTuple):
    """One student: a cell of the comparison."""

    seed: int
    size: str
    form: str

    @property
    def folder(self) -> str:
        return f"seed-{self.seed}/{self.size}/{self.form}"


def student_runs(config: TeacherLMConfig) -> list[StudentRun]:
    """Returns all runs in their order; those that are compared first of all stand together."""
    return [
        StudentRun(seed, size, form)
        for seed in config.seeds
        for size in config.students
        for form in config.formats
    ]


def is_mid(form: str) -> bool:
    """Returns whether a format explains before it answers, so that samples can vote."""
    return any(one.before for one in STUDENT_FORMATS[form])


def steps_of(run: RunConfig, sequences: int, epochs: int | None) -> tuple[int, int]:
    """Returns the steps of a run, and after how many of them a checkpoint is written."""
    if epochs is None:
        return run.train_steps, run.checkpoints.period_steps
    period = -(-sequences // run.batch_size)
    return epochs * period, period


class StudentStages(TeacherStages):
    """Makes the stages of students, too."""

    def train(self, run: StudentRun, records: Done) -> Stage:
        """Trains a student in its format."""
        config, path = self.config, records.path(ROWS)
        template, learned = config.students[run.size], cast(Learned, config.learned)
        source = source_of(path, run.form, learned, config.layout).for_run(RunData())
        sequences = source.num_examples(SPLIT) or 0
        steps, period = steps_of(template, sequences, config.epochs)
        trained = dataclasses.replace(
            template,
            seed=run.seed,
            train_steps=steps,
            checkpoints=dataclasses.replace(template.checkpoints, period_steps=period),
            data=dataclasses.replace(template.data, split=SPLIT),
        )
        start = trained.initial_checkpoint_path

        def work(folder: Path) -> Figures:
            task = registered_task(path, run.form, learned, config.layout)
            chosen = dataclasses.replace(trained, mixture_or_task_name=task)
            return {
                "steps": self.train_model(folder, chosen),
                "period": period,
                "sequences": sequences,
                **_lengths(chosen, path, run.form, learned, config),
            }

        return Stage(
            f"{run.folder}/train",
            "training",
            work,
            [MODEL],
            {
                "training": {n: value for n, value in decides(trained).items() if n != _TASK},
                "period": period,
                "format": run.form,
                "learned": learned,
                "layout": config.layout,
            },
            {
                "the records": path,
                **({} if start is None else {"the model it starts from": model_path(start)}),
            },
        )

    def evaluate(self, run: StudentRun, trained: Done, questions: Done) -> Stage:
        """Ranks every checkpoint on the development and the test set."""
        checkpoints, template = checkpoints_of(trained), self.config.students[run.size]

        def work(folder: Path) -> Figures:
            tasks = {name: self._asked(questions, name) for name in ("dev", "test")}
            config = self._ranked(
                self.eval_config(
                    folder, checkpoints, list(tasks.values()), template, self.config.rank_format
                )
            )
            found = self.evaluated(config, checkpoints)
            return {
                step: {
                    name: {
                        **told[task],
                        "answers": answers_path(told[task], task, "rank"),
                    }
                    for name, task in tasks.items()
                }
                for step, told in found.items()
            }

        return Stage(
            f"{run.folder}/evaluate",
            "evaluation",
            work,
            [f"{EVALUATION}/results.json"],
            self._settings(template),
            {
                **{f"checkpoint {step}": path for step, path in checkpoints.items()},
                "the development set": questions.path("dev.jsonl"),
                "the test set": questions.path("test.jsonl"),
            },
        )

    def vote(self, run: StudentRun, checkpoint: Path, questions: Done) -> Stage:
        """Answers the test set by the majority of samples."""
        template, voting = self.config.students[run.size], self.config.voting
        checkpoints = {"chosen": checkpoint}

        def work(folder: Path) -> Figures:
            learned: Learned = "pairs" if self.config.learned == "pairs" else "answers"
            path, layout = questions.path("test.jsonl"), self.config.layout
            task = registered_task(path, "text", learned, layout)
            config = dataclasses.replace(
                self.eval_config(folder, checkpoints, [task], template, "task"),
                modes=("self_consistency",),
                num_samples=voting.num_samples,
                temperature=voting.temperature,
                max_decode_tokens=voting.max_tokens,
                seed=run.seed,
            )
            found = self.evaluated(self._continued(config), checkpoints)["chosen"][task]
            return {**found, "answers": answers_path(found, task, "self_consistency")}

        return Stage(
            f"{run.folder}/vote",
            "evaluation",
            work,
            [f"{EVALUATION}/results.json"],
            {**self._settings(template), "voting": voting, "seed": run.seed},
            {"the checkpoint": checkpoint, "the test set": questions.path("test.jsonl")},
        )

    def _asked(self, questions: Done, name: str) -> str:
        pairs = self.config.learned == "pairs"
        learned: Learned = "pairs" if pairs else "letters"
        return registered_task(questions.path(f"{name}.jsonl"), "text", learned, self.config.layout)

    def _ranked(self, config: EvalConfig) -> EvalConfig:
        if self.config.learned != "pairs":
            return config
        words = language_by_name(self.config.layout.language or "en")
        letter = words.letter.format(letter="{letter}")
        sentence = words.final.format(answer=letter).partition("{letter}")[0]
        return dataclasses.replace(
            config, rank_format="task", rank_continuation=sentence + "{letter}"
        )

    def _continued(self, config: EvalConfig) -> EvalConfig:
        """Returns the evaluation in which a decoder-only student goes on behind the prompt."""
        if self.config.learned == "pairs":
            return config
        return dataclasses.replace(config, data=dataclasses.replace(config.data, add_eos=False))

    def _settings(self, run: RunConfig) -> dict[str, Any]:
        return {
            "layout": self.config.layout,
            "learned": self.config.learned,
            "rank format": self.config.rank_format,
            "lengths": dict(self.config.asked_lengths),
            "dtype": run.model.dtype,
            "vocabulary": vocabulary_digest(run.data),
        }


def _lengths(
    run: RunConfig, path: Path, form: str, learned: Learned, config: TeacherLMConfig
) -> dict[str, Any]:
    """Returns the tokens of the sequences, and how many of these have no room and are cut."""
    vocabulary = named_vocabulary(run.data) or EMBEDDED_VOCABULARY
    source = source_of(path, form, learned, config.layout).for_run(RunData())
    total = cut = 0
    for place in range(source.num_examples(SPLIT) or 0):
        example = source.example(SPLIT, place)
        lengths = {
            name: len(vocabulary.encode(str(example[name])))
            for name in ("inputs", "targets")
            if name in example
        }
        total += sum(lengths.values())
        cut += any(n > run.feature_lengths[name] for name, n in lengths.items())
    return {"text_tokens": total, "cut": cut}
