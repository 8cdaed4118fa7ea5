"""What a run of specialization found, in `results.json` and on the page."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from typing import Any

from tlm_jax.recipes.done import Done
from tlm_jax.recipes.specialization import aligning, comparison
from tlm_jax.recipes.specialization.config import SpecializationConfig
from tlm_jax.recipes.specialization.evaluation import ability, answers_path, rights
from tlm_jax.recipes.specialization.students import EVALUATION, StudentRun
from tlm_jax.recipes.specialization.work import MODEL
from tlm_jax.recipes.stages import Stages
from tlm_jax.reports import specialization_page
from tlm_jax.runs.training import console, files

RESULTS, REPORT = "results.json", "report.html"


class Results:
    """Collects what was found, and writes it after every student.

    Attributes:
      sampled: the stage that asked the teacher; None where its solutions are files.
    """

    def __init__(self, config: SpecializationConfig, stages: Stages):
        """Takes the run, of which nothing has been found yet."""
        self._config, self._stages = config, stages
        self._starts: dict[str, Any] = {}
        self._runs: list[dict[str, Any]] = []
        self._selected: dict[str, Any] = {}
        self._aligned: dict[str, Any] = {}
        self._shown: str | None = None
        self.sampled: Done | None = None

    def begin(self, selected: Done, aligned: Mapping[str, Done]) -> None:
        """Takes the solutions, and says how many there are."""
        self._selected = selected.figures
        self._aligned = {method: done.figures for method, done in aligned.items()}
        self._shown = self._relative(next(iter(aligned.values())), aligning.ALIGNED)
        found = selected.figures
        console.say(
            f"   {found['samples']:,} solutions, {found['right']:,} right, {found['kept']:,} kept "
            f"of {found['kept_questions']:,} questions; {found['questions_without']:,} questions "
            "without one"
        )
        for method, figures in self._aligned.items():
            console.say(
                f"   {method}: of {figures['student_tokens']:,} tokens "
                f"{figures['soft_share']:.1%} have the teacher's distribution; "
                f"{figures['examples']:,} solutions to train on, "
                f"{sum(figures['left_out'].values()):,} left out"
            )

    def add_start(self, name: str, evaluated: Done) -> None:
        """Takes what a start can do."""
        self._starts[name] = self._abilities(evaluated.figures["0"])

    def add(self, run: StudentRun, trained: Done, evaluated: Done) -> None:
        """Takes a student, chooses its checkpoint, and says in a line what it reached."""
        dev = trained.figures["curve"]
        steps = [
            {"step": int(step), "dev": dev.get(step, {}), **self._abilities(figures)}
            for step, figures in evaluated.figures.items()
        ]
        steps.sort(key=lambda one: one["step"])
        scores = [self._score(one["dev"]) for one in steps]
        place = max(range(len(steps)), key=lambda number: scores[number])
        step = steps[place]["step"]
        self._runs.append(
            {
                **run._asdict(),
                "steps": steps,
                "chosen": {
                    "place": place,
                    "step": step,
                    "dev_accuracy": scores[place],
                    "model": self._relative(trained, f"{MODEL}/checkpoints/{step}"),
                },
                "answers": self._relative(evaluated, EVALUATION),
                "cut_prompts": trained.figures["cut_prompts"],
                "looked_at": trained.figures["looked_at"],
                "seconds": trained.seconds + evaluated.seconds,
            }
        )
        found = steps[place]
        general = "" if found["general"] is None else f", general {found['general']:.1%}"
        console.say(
            f"   {run.folder}: step {step} of {steps[-1]['step']} chosen "
            f"(development set {scores[place]:.1%}); special {found['special']:.1%}{general}"
        )
        self._write(complete=False)

    def finish(self) -> dict[str, Any]:
        """Writes the results as complete; returns them."""
        return self._write(complete=True)

    def _score(self, dev: Mapping[str, Any]) -> float:
        """Returns what a checkpoint is chosen by."""
        forms = [dev[form].get("accuracy", 0.0) for form in self._config.choose_by if form in dev]
        return sum(forms) / len(forms) if forms else 0.0

    def _abilities(self, figures: Mapping[str, Any]) -> dict[str, Any]:
        evaluation = self._config.evaluation
        return {
            "evaluation": figures,
            "special": ability(figures, evaluation.special, evaluation.prompts),
            "general": ability(figures, evaluation.general, evaluation.prompts),
        }

    def _write(self, *, complete: bool) -> dict[str, Any]:
        evaluation, directory = self._config.evaluation, self._stages.directory
        read = functools.lru_cache(maxsize=None)(rights)

        def answered(run: Mapping[str, Any], data_set: str, prompt: str) -> Mapping[str, bool]:
            task = evaluation.task(data_set, prompt)
            step = str(run["chosen"]["step"])
            return read(answers_path(directory / run["answers"], step, task))

        results = {
            "method": "specialization",
            "complete": complete,
            "task": self._config.questions.data_set,
            "special": list(evaluation.special),
            "general": list(evaluation.general),
            "prompts": list(evaluation.prompts),
            "choose_by": list(self._config.choose_by),
            "sampling": self.sampled.figures if self.sampled is not None else None,
            "selection": self._selected,
            "alignment": self._aligned,
            "aligned": self._shown,
            "starts": self._starts,
            "runs": self._runs,
            "table": comparison.table(self._runs, evaluation.sets),
            "pairs": comparison.pairs(self._runs, evaluation.sets, answered),
            "cost": self._stages.cost(),
        }
        files.write_text(directory / RESULTS, json.dumps(results, indent=1, ensure_ascii=False))
        files.write_text(directory / REPORT, specialization_page.render(results, directory))
        return results

    def _relative(self, done: Done, name: str) -> str:
        return str(done.path(name).relative_to(self._stages.directory))
