"""The stages of arms: what each trains on, its training, and which checkpoint is chosen."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tlm_jax.checkpoints.choice import complete_steps
from tlm_jax.checkpoints.keep import KeepPolicy
from tlm_jax.data.records import Record, read_json_lines, write_records
from tlm_jax.recipes.asking import model_path, records_digest
from tlm_jax.recipes.done import Done, Figures
from tlm_jax.recipes.lema.material import FOREIGN, Material, Writer, parted, record_of
from tlm_jax.recipes.lema.sets import Arm, rows_of, tokens
from tlm_jax.recipes.lema.work import MistakeStages
from tlm_jax.recipes.stages import Stage, on_first_host
from tlm_jax.recipes.trainings import decides, vocabulary_digest
from tlm_jax.runs.opened.model import OpenedModel
from tlm_jax.runs.opened.settings import ModelSettings
from tlm_jax.runs.training.config import RunConfig
from tlm_jax.runs.training.session import run_training
from tlm_jax.vocabularies import Vocabulary

MODEL = "model"
"""The MODEL_DIR in the folder of a stage that trains."""
AS_WRITTEN, IN_PAIRS = "examples_as_written", "examples_in_pairs"


class ArmStages(MistakeStages):
    """Makes the stages of arms, too."""

    @property
    def plain(self) -> bool:
        """Whether prompt and answer are one text, nothing between them."""
        return getattr(self.config.form, "cot_form", "lema") == "lema"

    def vocabulary(self) -> Vocabulary:
        """Returns the student's."""
        data = self.config.training.data
        settings = ModelSettings(self.start, vocabulary=data.vocabulary)
        with OpenedModel(settings, announce=lambda line: None) as opened:
            return opened.vocabulary

    def rows(self, folder: str, arm: Arm, seed: int, material: Material) -> Stage:
        """Writes what an arm trains on."""
        config = self.config
        lengths = config.training.feature_lengths

        def work(where: Path) -> Figures:
            writer = Writer(config.form, arm, self.vocabulary(), lengths, config.too_long)
            in_dev = {record.question_words() for record in self.sets.dev}
            new = [record for record in material.new() if record.question_words() not in in_dev]
            right = material.right() if config.paths.keep_right else []
            found = [*writer.chains([*self.sets.train, *new]), *writer.right(right)]
            kept = parted(material.kept(), config.num_compared)[1]
            stages = rows_of(arm, found, writer.corrected(kept), seed)
            for number, rows in enumerate(stages, 1):
                write_records(where / examples_file(number), map(record_of, rows))
            write_records(where / FOREIGN, self._foreign([*kept, *new, *right]))
            return {
                "rows": [len(rows) for rows in stages],
                "target_tokens": [tokens(rows) for rows in stages],
                "corrections": sum("/correction" in row.id for rows in stages for row in rows),
                "dropped": writer.dropped,
            }

        return Stage(
            f"{folder}/rows",
            "other",
            lambda where: on_first_host(where, work),
            [FOREIGN, *(examples_file(n) for n in range(1, num_stages(arm) + 1))],
            {
                "arm": dataclasses.replace(arm, name=""),
                "seed": seed,
                "form": config.form,
                "lengths": dict(lengths),
                "too long": config.too_long,
                "compared": config.num_compared,
                "right paths": config.paths.keep_right,
                "vocabulary": vocabulary_digest(config.training.data),
                "questions": records_digest([*self.sets.train, *self.sets.dev]),
            },
            material.reads(),
        )

    def train(self, folder: str, arm: Arm, seed: int, rows: Done) -> Stage:
        """Trains an arm, and asks it the development set at every checkpoint."""
        counts, evaluation = rows.figures["rows"], self.config.training.evaluation
        runs = [self._run(seed, share) for share in _shares(counts, self.config.training)]

        def work(where: Path) -> Figures:
            steps, start = 0, self.start
            for number, run in enumerate(runs, 1):
                model_dir = where / (MODEL if number == len(runs) else f"{MODEL}-{number}")
                examples = str(rows.path(examples_file(number)))
                data = dataclasses.replace(run.data, examples_file=examples)
                run = dataclasses.replace(
                    run, data=data, model_dir=str(model_dir), initial_checkpoint_path=start
                )
                steps += run_training(run, self.configuration, self.compiled)
                start = str(model_dir)
            return {"steps": steps, "rows": counts, "curve": self._curve(where / MODEL)}

        return Stage(
            f"{folder}/train",
            "training",
            work,
            [MODEL],
            {
                "training": [decides(run) for run in runs],
                "chosen on": self._chosen_on(),
                "answers": [evaluation.max_decode_tokens, list(evaluation.stop)],
                "checkpoints": self.config.training.checkpoints.period_steps,
            },
            {
                "the model it starts from": model_path(self.start),
                **{f"the rows {n}": rows.path(examples_file(n)) for n in range(1, len(counts) + 1)},
            },
        )

    def _foreign(self, taught: Sequence[Record]) -> list[Record]:
        """Returns the questions that the data set's training split does not have."""
        ours = {record.question_words() for record in self.sets.train}
        others = {record.question_words(): record for record in taught}
        return [record for words, record in others.items() if words not in ours]

    def _chosen_on(self) -> dict[str, Any]:
        """Returns task and split by which a checkpoint is chosen."""
        config, evaluation = self.config, self.config.evaluation
        if config.choose_on == "test":
            task = evaluation.tasks[0]
            count, seed = evaluation.num_examples, evaluation.examples_seed
            return {"task": task, "split": evaluation.split_of(task), "num": count, "seed": seed}
        return {
            "task": config.dev_task if config.choose_on == "development" else None,
            "split": config.questions.dev_split,
            "num": config.questions.num_dev,
            "seed": config.questions.seed,
        }

    def _run(self, seed: int, steps: int) -> RunConfig:
        """Returns a training run without its directory, start and file."""
        template, chosen = self.config.training, self._chosen_on()
        tasks = [] if chosen["task"] is None else [chosen["task"]]
        return dataclasses.replace(
            template,
            seed=seed,
            train_steps=steps,
            mixture_or_task_name=AS_WRITTEN if self.plain else IN_PAIRS,
            data=dataclasses.replace(template.data, examples_file=None, split="all"),
            evaluation=dataclasses.replace(
                template.evaluation,
                tasks=tasks,
                split=chosen["split"],
                num_examples=chosen["num"],
                examples_seed=chosen["seed"],
                period_steps=template.checkpoints.period_steps,
            ),
            checkpoints=dataclasses.replace(template.checkpoints, keep=KeepPolicy(last=None)),
        )

    def _curve(self, model_dir: Path) -> dict[str, dict[str, float]]:
        """Returns what a run's own evaluations found, by step."""
        task = self._chosen_on()["task"]
        names = ("accuracy", "accuracy_low", "accuracy_high", "nll_nats", "num_examples")
        return {
            str(row["step"]): {name: row[name] for name in names if name in row}
            for _, row in read_json_lines(model_dir / "metrics.jsonl")
            if row.get("split") == f"eval/{task}"
        }


def examples_file(number: int) -> str:
    """Returns the name of the file that a stage of training reads."""
    return f"examples-{number}.jsonl"


def num_stages(arm: Arm) -> int:
    """Returns how many stages of training an arm has."""
    return 2 if arm.base == "lema_two_stages" else 1


def chosen_step(trained: Done) -> int:
    """Returns the step whose development accuracy is best, the first of equals, else the last."""
    curve: Mapping[str, Mapping[str, float]] = trained.figures["curve"]
    steps = complete_steps(trained.path(MODEL) / "checkpoints")
    if not curve:
        return steps[-1]
    return max(steps, key=lambda step: curve.get(str(step), {}).get("accuracy", -1.0))


def checkpoint(trained: Done, step: int) -> Path:
    """Returns where a checkpoint of an arm lies."""
    return trained.path(MODEL) / "checkpoints" / str(step)


def _shares(counts: Sequence[int], training: RunConfig) -> list[int]:
    """Returns the steps of each stage of training, by its rows."""
    total, left = sum(counts), training.train_steps
    shares = [max(1, math.floor(left * count / total)) for count in counts[:-1]]
    return [*shares, left - sum(shares)]
