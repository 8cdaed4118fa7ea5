"""The stages that measure models: on test tasks, and how probable mistakes are to them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from tlm_jax.data.records import Record
from tlm_jax.recipes.asking import graded_again
from tlm_jax.recipes.done import Figures
from tlm_jax.recipes.lema import correcting, likelihood
from tlm_jax.recipes.lema.forms import Form, Pair
from tlm_jax.recipes.lema.material import Material, parted
from tlm_jax.recipes.lema.training import ArmStages
from tlm_jax.recipes.stages import Stage
from tlm_jax.recipes.trainings import vocabulary_digest
from tlm_jax.runs.evaluation.config import EvalConfig, Mode
from tlm_jax.runs.evaluation.run import run_evaluation
from tlm_jax.runs.opened.model import OpenedModel
from tlm_jax.runs.opened.reading import ReadingSettings
from tlm_jax.runs.opened.settings import ModelSettings


class LemaStages(ArmStages):
    """Makes all stages of a run."""

    def evaluate(self, name: str, model: Path, foreign: Path | None) -> Stage:
        """Asks a model the test tasks.

        Args:
          name: of the stage.
          model: a checkpoint.
          foreign: questions of its training that may be test questions, which are left out.
        """
        evaluation, training = self.config.evaluation, self.config.training
        splits = list(dict.fromkeys(evaluation.split_of(task) for task in evaluation.tasks))
        some = foreign is not None and foreign.stat().st_size > 0
        modes: list[Mode] = ["greedy"]
        if evaluation.num_samples:
            modes.append("self_consistency")

        def config(folder: Path, split: str) -> EvalConfig:
            return EvalConfig(
                str(folder),
                [str(model)],
                [task for task in evaluation.tasks if evaluation.split_of(task) == split],
                evaluation.feature_lengths or training.feature_lengths,
                too_long="keep_end",
                split=split,
                modes=modes,
                grading_rule=self.config.rule,
                num_examples=evaluation.num_examples,
                examples_seed=evaluation.examples_seed,
                batch_size=evaluation.batch_size,
                stop=evaluation.stop,
                num_samples=max(evaluation.num_samples, 1),
                temperature=evaluation.temperature,
                training_sets=[str(foreign)] if some else [],
                leave_out_known=some,
                show_questions=20,
                dtype=training.model.dtype,
                mesh=training.mesh,
                data=dataclasses.replace(training.data, examples_file=None, split="train"),
            )

        def work(folder: Path) -> Figures:
            found: dict[str, Any] = {}
            for split in splits:
                where = folder / split
                results = run_evaluation(config(where, split), self.configuration, self.compiled)
                for one in results["results"]:
                    names = ("questions", "right", "accuracy", "accuracy_low", "accuracy_high")
                    figures: dict[str, Any] = {name: one[name] for name in names}
                    also = evaluation.also_by.get(one["task"])
                    if also and one["mode"] == "greedy":
                        path = where / "samples" / one["checkpoint"] / one["task"]
                        figures["also"] = graded_again(path / "greedy.jsonl", also)
                    found.setdefault(one["task"], {})[one["mode"]] = figures
                for report in results["training_sets"]:
                    found[report["task"]]["left_out"] = report["found"]
            return found

        reads = {"the model": model} | ({"the paths' questions": foreign} if some else {})
        return Stage(
            name,
            "evaluation",
            work,
            [f"{split}/results.json" for split in splits],
            {
                "evaluation": evaluation,
                "rule": self.config.rule,
                "lengths": dict(evaluation.feature_lengths or training.feature_lengths),
                "dtype": training.model.dtype,
                "vocabulary": vocabulary_digest(training.data),
                "bos and eos": [training.data.add_bos, training.data.add_eos],
            },
            {n: path for n, path in reads.items() if path is not None},
        )

    def compare(self, name: str, model: Path, material: Material) -> Stage:
        """Compares how probable wrong and corrected paths are to a model."""
        training, form = self.config.training, self.config.form

        def work(folder: Path) -> Figures:
            settings = ModelSettings(
                str(model),
                training.model.dtype,
                training.mesh,
                training.data.vocabulary,
                ReadingSettings(training.data.add_bos, training.data.add_eos),
            )
            pairs = [_pair(form, record) for record in self.compared(material)]
            with OpenedModel(settings, compiled=self.compiled) as opened:
                size = self.config.evaluation.batch_size
                return likelihood.perplexities(opened, pairs, plain=self.plain, batch_size=size)

        return Stage(
            name,
            "evaluation",
            work,
            [],
            {
                "compared": self.config.num_compared,
                "form": form,
                "dtype": training.model.dtype,
                "vocabulary": vocabulary_digest(training.data),
            },
            {"the model": model, **material.reads()},
        )

    def compared(self, material: Material) -> list[Record]:
        """Returns the corrections that are kept from training, to compare probabilities on."""
        return parted(material.kept(), self.config.num_compared)[0]


def _pair(form: Form, record: Record) -> tuple[Pair, Pair]:
    path = tuple(record.get("path"))
    return form.cot(record, path), form.cot(record, correcting.correction_of(record).chain(path))
