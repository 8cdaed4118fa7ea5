"""What a run of TeacherLM found, in `results.json` and on the page."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from typing import Any

from tlm_jax.data.records import read_json_lines
from tlm_jax.recipes.done import Done
from tlm_jax.recipes.stages import Stages
from tlm_jax.recipes.teacher_lm import comparison
from tlm_jax.recipes.teacher_lm.config import TeacherLMConfig
from tlm_jax.recipes.teacher_lm.questions import QuestionSets, type_of
from tlm_jax.recipes.teacher_lm.students import StudentRun
from tlm_jax.recipes.teacher_lm.teaching import ENRICHED
from tlm_jax.recipes.teacher_lm.work import MODEL
from tlm_jax.reports import teacher_lm_page
from tlm_jax.runs.training import console, files

RESULTS, REPORT = "results.json", "report.html"


class Results:
    """Collects what was found, and writes it after every student."""

    def __init__(self, config: TeacherLMConfig, stages: Stages, sets: QuestionSets):
        """Takes the run, of which nothing has been found yet."""
        self._config, self._stages, self._sets = config, stages, sets
        self._types = {r.id: type_of(r, config.questions.types) for r in sets.test}
        self._teacher: dict[str, Any] = {}
        self._enhancement: dict[str, Any] = {}
        self._runs: list[dict[str, Any]] = []

    def add_teacher(self, name: str, chosen: Done) -> None:
        """Takes a stage of the teacher."""
        self._teacher[name] = chosen.figures
        step = chosen.figures["chosen"]
        accuracy = chosen.figures["accuracy"][step]
        console.say(f"   teacher, {name}: step {step} chosen ({accuracy:.1%})")

    def begin(self, records: Done) -> None:
        """Takes the enriched records, and says how many there are."""
        self._enhancement = {**records.figures, "file": self._relative(records, ENRICHED)}
        for field, n in records.figures["fields"].items():
            console.say(
                f"   {field}: {n['generated']:,} generations, {n['empty']:,} empty, "
                f"{n['run_on']:,} run on, {n['went_on']:,} went on with something else"
            )
        console.say(f"   {records.figures['rows']:,} records to learn from")
        self._write(complete=False)

    def add(self, run: StudentRun, trained: Done, evaluated: Done) -> str:
        """Takes a student; returns the step of the checkpoint that the development set chose."""
        steps = [
            {"step": int(step), "dev": found["dev"], "test": found["test"]}
            for step, found in evaluated.figures.items()
        ]
        steps.sort(key=lambda one: one["step"])
        place = max(range(len(steps)), key=lambda n: steps[n]["dev"]["accuracy"] or 0.0)
        step = str(steps[place]["step"])
        self._runs.append(
            {
                **run._asdict(),
                "steps": steps,
                "chosen": place,
                "model": self._relative(trained, f"{MODEL}/checkpoints/{step}"),
                "answers": self._relative(evaluated, steps[place]["test"]["answers"]),
                **{name: trained.figures[name] for name in ("sequences", "text_tokens", "cut")},
                "votes": None,
                "seconds": trained.seconds + evaluated.seconds,
            }
        )
        test = steps[place]["test"]
        cut = trained.figures["cut"]
        console.say(
            f"   {run.folder}: step {step} of {steps[-1]['step']} chosen; test "
            f"{test['accuracy']:.1%}{f'; {cut:,} sequences cut' if cut else ''}"
        )
        self._write(complete=False)
        return step

    def add_votes(self, run: StudentRun, voted: Done) -> None:
        """Takes the majority's answers of the student that was added last."""
        figures = voted.figures
        self._runs[-1]["votes"] = {**figures, "answers": self._relative(voted, figures["answers"])}
        console.say(f"   {run.folder}: by majority {figures['accuracy']:.1%}")
        self._write(complete=False)

    def finish(self) -> dict[str, Any]:
        """Writes the results as complete; returns them."""
        return self._write(complete=True)

    def _write(self, *, complete: bool) -> dict[str, Any]:
        directory, config = self._stages.directory, self._config

        @functools.cache
        def read(path: str) -> dict[str, bool]:
            rows = read_json_lines(directory / path, any_text=True)
            return {row["id"]: row["right"] for _, row in rows}

        def rights(run: Mapping[str, Any]) -> dict[str, bool]:
            return read(run["answers"])

        first = next(iter(config.formats), "")
        results = {
            "method": "teacher_lm",
            "complete": complete,
            "questions": {
                name: len(getattr(self._sets, name)) for name in ("train", "dev", "test")
            },
            "left_out": self._sets.left_out,
            "learned": config.learned,
            "formats": list(config.formats),
            "teacher": self._teacher,
            "enhancement": self._enhancement,
            "runs": self._runs,
            "table": comparison.table(self._runs, self._types, rights, first),
            "cost": self._stages.cost(),
        }
        files.write_text(directory / RESULTS, json.dumps(results, indent=1, ensure_ascii=False))
        files.write_text(directory / REPORT, teacher_lm_page.render(results))
        return results

    def _relative(self, done: Done, name: str) -> str:
        return str(done.path(name).relative_to(self._stages.directory))
