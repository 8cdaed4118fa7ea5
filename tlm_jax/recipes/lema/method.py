"""LEMA: wrong paths, their corrections, and arms that learn from them or do not, side by side."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tlm_jax.data.records import Record, read_records
from tlm_jax.recipes.asking import SAMPLES, model_path, prompt_line
from tlm_jax.recipes.done import Done
from tlm_jax.recipes.lema import evolution
from tlm_jax.recipes.lema.config import LemaConfig
from tlm_jax.recipes.lema.correcting import KEPT
from tlm_jax.recipes.lema.material import FOREIGN, Material
from tlm_jax.recipes.lema.measuring import LemaStages
from tlm_jax.recipes.lema.plan import planned_stages
from tlm_jax.recipes.lema.results import Measured, Results
from tlm_jax.recipes.lema.sets import arm_of
from tlm_jax.recipes.lema.training import checkpoint, chosen_step
from tlm_jax.recipes.question_sets import read_question_sets
from tlm_jax.recipes.recipe import Method, Planned
from tlm_jax.recipes.stages import Stages
from tlm_jax.runs.training.student_vocabulary import run_data
from tlm_jax.system.home import expanded


@dataclasses.dataclass(frozen=True)
class Lema(Method):
    """LEMA, as a recipe.

    Attributes:
      config: of the method.
    """

    config: LemaConfig

    def plan(self) -> list[Planned]:
        return planned_stages(self.config)

    def run(self, stages: Stages, configuration: str) -> dict[str, Any]:
        return _Run(self.config, stages, configuration).run()


class _Run:
    """One run: mistakes, corrections, and all arms."""

    def __init__(self, config: LemaConfig, stages: Stages, configuration: str):
        self._config, self._stages = config, stages
        data = run_data(config.training.data)
        self._sets = read_question_sets(config.questions, data)
        self._make = LemaStages(config, self._sets, data, stages.compiled, configuration)
        self._results = Results(config, stages)
        self._trained: dict[tuple[int, str], Path] = {}

    def run(self) -> dict[str, Any]:
        self._stages.run(self._make.questions())
        models = self._config.paths.models
        found = [self._mistakes("", models, self._sets.train, with_files=True)]
        evolved: list[Path] = []
        evolve, new = self._config.evolution, []
        if evolve is not None:
            done = self._evolve(found[0][1])
            evolved.append(done.path(evolution.EVOLVED))
            new = list(read_records(evolved[0]))
            found.append(self._mistakes("evolve/", models, new, with_files=False))
        material = Material(found, evolved)
        self._arms(1, material)
        if evolve is not None and evolve.rounds > 1:
            tuned = {
                f"seed-{seed}": str(path)
                for (seed, arm), path in self._trained.items()
                if arm == evolve.teacher_arm
            }
            found = [*found, self._mistakes("round-2/", tuned, new, with_files=False)]
            self._arms(2, Material(found, evolved))
        return self._results.finish()

    def _mistakes(
        self,
        folder: str,
        models: Mapping[str, str],
        records: Sequence[Record],
        *,
        with_files: bool,
    ) -> tuple[Done, Done]:
        """Returns the wrong paths and the chosen corrections of questions."""
        make, run = self._make, self._stages.run
        sampled = {
            name: run(make.solve(f"{folder}ask/{name}", model, records))
            for name, model in models.items()
        }
        paths = run(make.paths(f"{folder}paths", sampled, records, with_files=with_files))
        corrected = run(make.correct(f"{folder}correct", paths))
        kept = run(make.choose(f"{folder}corrections", paths, corrected))
        self._results.corrected(folder or "first/", paths, kept)
        return paths, kept

    def _evolve(self, kept: Done) -> Done:
        """Returns new questions with answers."""
        make, run, evolve = self._make, self._stages.run, self._make.evolution
        data_set = self._config.questions.data_set
        seeds = make.evolved_questions(list(read_records(kept.path(KEPT))))
        if evolve.file is not None:
            questions, dropped = evolution.listed(expanded(evolve.file), data_set)
        else:
            assert evolve.model is not None
            lines = [prompt_line(seed, evolution.prompt(seed)) for seed in seeds]
            written = run(make.ask("evolve/write", evolve.model, lines, evolve.speaking, seeds))
            questions, dropped = evolution.created(written.path(SAMPLES), seeds, data_set)
        lines = [prompt_line(r, self._config.form.cot_inputs(r)) for r in questions]
        solved = run(make.ask("evolve/answer", evolve.solver, lines, evolve.solving, questions))
        done = run(make.evolved("evolve/questions", questions, dropped, solved))
        self._results.evolved = done.figures
        return done

    def _start(self, material: Material, foreign: Path) -> None:
        """Measures the model from which the arms start, on the questions that they are asked."""
        start = model_path(self._make.start)
        evaluated = self._stages.run(self._make.evaluate("start/evaluate", start, foreign))
        self._results.start(evaluated, self._compared("start", start, material))

    def _arms(self, number: int, material: Material) -> None:
        make, run = self._make, self._stages.run
        top = "" if number == 1 else f"round-{number}/"
        for seed in self._config.seeds:
            for name in self._config.arms:
                arm, folder = arm_of(name), f"{top}seed-{seed}/{name}"
                rows = run(make.rows(folder, arm, seed, material))
                if not self._trained:
                    self._start(material, rows.path(FOREIGN))
                trained = run(make.train(folder, arm, seed, rows))
                step = chosen_step(trained)
                model = checkpoint(trained, step)
                self._trained[seed, name] = model
                stage = make.evaluate(f"{folder}/evaluate", model, rows.path(FOREIGN))
                evaluated = run(stage)
                compared = self._compared(folder, model, material)
                self._results.add(
                    Measured(number, seed, name, rows, trained, step, evaluated, compared)
                )

    def _compared(self, folder: str, model: Path, material: Material) -> Done | None:
        if not self._config.num_compared:
            return None
        return self._stages.run(self._make.compare(f"{folder}/compare", model, material))
