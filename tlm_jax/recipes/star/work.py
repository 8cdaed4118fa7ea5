"""The stages of STaR: what each is decided by, and what it does."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

from tlm_jax.data.generators.draws import Draws
from tlm_jax.data.records import Record, read_records, write_records
from tlm_jax.errors import UserError
from tlm_jax.recipes.asking import SAMPLES, records_digest
from tlm_jax.recipes.done import Done, read_json, write_json
from tlm_jax.recipes.stages import Stage, meet
from tlm_jax.recipes.star.asking import Asker
from tlm_jax.recipes.star.pretraining import Pretraining
from tlm_jax.recipes.star.questions import QuestionSets, write_questions
from tlm_jax.recipes.star.selection import EXAMPLES, WRONG, Pass, select
from tlm_jax.recipes.trainings import decides, vocabulary_digest
from tlm_jax.runs.inference.config import SamplingConfig
from tlm_jax.runs.training import console
from tlm_jax.runs.training.config import RunConfig
from tlm_jax.runs.training.session import run_training

TASK = "examples_as_written"
"""The task whose examples are what a selection wrote."""
FIGURES = "figures.json"
"""What the questions of a pre-training found, in the folder of a probe; written last."""
MODEL = "model"
"""The MODEL_DIR in the folder of a stage that trains."""


class StarStages:
    """Makes the stages of one run of the method."""

    def __init__(self, asker: Asker, configuration: str):
        """Takes the run.

        Args:
          asker: of the run.
          configuration: as gin text, for the MODEL_DIRs.
        """
        self._asker, self._config = asker, asker.config
        self._configuration = configuration

    def questions(self, sets: QuestionSets) -> Stage:
        """Writes the development set and the questions of loop 1 where they can be read."""
        first = sets.of_loop(1)
        shown = {"dev": sets.dev, "train": first.asked}
        return Stage(
            "questions",
            "other",
            lambda folder: {**write_questions(folder, shown), "left_out": first.left_out},
            [f"{name}.jsonl" for name in shown],
            {name: records_digest(records) for name, records in shown.items()},
        )

    def pretrain(self, seed: int, pretraining: Pretraining) -> Stage:
        """Makes M0."""
        run = self._training(seed)
        return Stage(
            f"seed-{seed}/pretrain",
            "training",
            lambda folder: self._pretrained(folder, run, pretraining, seed),
            [MODEL],
            {
                "pretraining": pretraining,
                "training": decides(run),
                "form": self._config.form,
                **self._answers(_greedy(self._config.sampling)),
            },
        )

    def ask(
        self,
        name: str,
        model: Path,
        records: Sequence[Record],
        sampling: SamplingConfig,
        *,
        kind: Any = "generation",
        hint: bool = False,
    ) -> Stage:
        """Asks a model questions."""
        return Stage(
            name,
            kind,
            lambda folder: self._asker.ask(folder, model, records, sampling, hint=hint),
            [SAMPLES],
            {
                "prompts": self._asker.prompts_digest(records, hint=hint),
                **self._answers(sampling),
                "hint": hint,
            },
            {"the model": model},
        )

    def select(self, name: str, passes: Sequence[Pass], records: Sequence[Record]) -> Stage:
        """Chooses what is trained on."""
        config, by_id = self._config, {record.id: record for record in records}
        return Stage(
            name,
            "other",
            lambda folder: select(
                folder,
                passes,
                by_id,
                config.form,
                self._asker.data,
                curation=config.curation,
                few_shot=config.few_shot_in_training,
            ),
            [EXAMPLES, WRONG],
            {
                "curation": config.curation,
                "few_shot": config.few_shot_in_training,
                "prompts": self._asker.prompts_digest(records, hint=False),
                "form": config.form,
                "written by": [one.model for one in passes],
            },
            {f"samples {'with' if one.hinted else 'without'} hints": one.path for one in passes},
        )

    def train(self, name: str, selected: Done, start: Path, seed: int, steps: int) -> Stage:
        """Trains a model on what was chosen."""
        kept = selected.figures["examples"]
        rehearsed = self._rehearsal(seed, kept)
        run = dataclasses.replace(
            self._training(seed), train_steps=steps, initial_checkpoint_path=str(start)
        )

        def work(folder: Path) -> dict[str, Any]:
            examples = selected.path(EXAMPLES)
            if rehearsed:
                examples = folder / EXAMPLES
                if jax.process_index() == 0:
                    write_records(examples, [*read_records(selected.path(EXAMPLES)), *rehearsed])
                meet(f"examples {folder}")
            data = dataclasses.replace(run.data, examples_file=str(examples))
            model_dir = str(folder / MODEL)
            taken = run_training(
                dataclasses.replace(run, model_dir=model_dir, data=data),
                self._configuration,
                self._asker.compiled,
            )
            return {"steps": taken, "examples": kept, "rehearsed": len(rehearsed)}

        return Stage(
            name,
            "training",
            work,
            [MODEL],
            {"training": decides(run), "rehearsed": records_digest(rehearsed)},
            {"the examples": selected.path(EXAMPLES), "the model it starts from": start},
        )

    def _answers(self, sampling: SamplingConfig) -> dict[str, Any]:
        """Returns what decides answers and their grades beside prompts and model."""
        training = self._config.training
        return {
            "sampling": sampling,
            "stop": list(sampling.stop or self._config.form.stop),
            "rule": self._config.rule,
            "vocabulary": vocabulary_digest(training.data),
            "bos and eos": [training.data.add_bos, training.data.add_eos],
            "dtype": training.model.dtype,
        }

    def _rehearsal(self, seed: int, kept: int) -> list[Record]:
        """Returns the texts of the pre-training that a loop repeats."""
        pretraining = self._config.pretraining
        if pretraining is None or not pretraining.rehearsed:
            return []
        return pretraining.rehearsal(self._config.form, seed, kept)

    def _training(self, seed: int) -> RunConfig:
        """Returns a training run without its directory and file of examples."""
        template = self._config.training
        data = dataclasses.replace(template.data, examples_file=None, split="all")
        return dataclasses.replace(template, data=data, mixture_or_task_name=TASK, seed=seed)

    def _pretrained(
        self, folder: Path, run: RunConfig, pretraining: Pretraining, seed: int
    ) -> dict[str, Any]:
        """Trains and asks in turn until enough is right."""
        examples = folder / EXAMPLES
        if jax.process_index() == 0:
            write_records(examples, pretraining.examples(self._config.form, seed))
        meet(f"examples {folder}")
        greedy = _greedy(self._config.sampling)
        data = dataclasses.replace(run.data, examples_file=str(examples))
        steps, figures = 0, dict[str, Any](accuracy=0.0)
        while figures["accuracy"] < pretraining.at_least and steps < pretraining.max_steps:
            steps = steps + pretraining.period_steps if steps else pretraining.min_steps
            model_dir, probe = folder / MODEL, folder / f"probe-{steps}"
            # What an earlier start found here: its model may have been trained further since.
            known = read_json(probe / FIGURES)
            if known is not None:
                figures = known
                continue
            run_training(
                dataclasses.replace(run, data=data, model_dir=str(model_dir), train_steps=steps),
                self._configuration,
                self._asker.compiled,
            )
            # Asked anew after each period: a folder for each, since samples are of one model.
            figures = self._asker.ask(probe, model_dir, pretraining.probes(), greedy)
            write_json(probe / FIGURES, figures)
            meet(f"figures {probe}")
            console.say(f"   step {steps}: {figures['accuracy']:.1%} of the probes right")
        if not pretraining.at_least <= figures["accuracy"] <= pretraining.at_most:
            raise UserError(
                f"after {steps:,} steps of pre-training {figures['accuracy']:.1%} of sums of "
                f"{pretraining.probe_digits} digits are right, expected "
                f"{pretraining.at_least:.0%} to {pretraining.at_most:.0%}: change "
                "Pretraining.max_steps, period_steps or shares"
            )
        return {"steps": steps, "examples": pretraining.num_examples, **figures}


def hinted_questions(
    failed: Sequence[Record], share: float, seed: int, loop: int
) -> tuple[Record, ...]:
    """Returns those of the failed questions that are asked again with a hint."""
    if share >= 1:
        return tuple(failed)
    odds = int(share * (1 << 30))
    return tuple(r for r in failed if Draws("star hint", seed, loop, r.id).below(1 << 30) < odds)


def _greedy(sampling: SamplingConfig) -> SamplingConfig:
    """Returns how the questions of a pre-training are asked."""
    return dataclasses.replace(sampling, temperature=0.0, num_samples=1)
