"""Results of a run of STaR: loop by loop, in `results.json` and on the page."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tlm_jax.recipes.asking import SAMPLES, by_chance
from tlm_jax.recipes.done import Done, fingerprint
from tlm_jax.recipes.stages import Stages
from tlm_jax.recipes.star.config import Arm, StarConfig
from tlm_jax.recipes.star.figure_4 import published
from tlm_jax.recipes.star.forms import AdditionScratchpad
from tlm_jax.recipes.star.selection import WRONG
from tlm_jax.recipes.star.work import MODEL
from tlm_jax.reports import recipe_page
from tlm_jax.runs.training import console, files

RESULTS, REPORT = "results.json", "report.html"


@dataclasses.dataclass(frozen=True)
class Loop:
    """The stages of a loop that are done.

    Attributes:
      number: from 1.
      left_out: how many questions were not asked, by the set that holds them.
      generated: the questions were asked.
      hinted: those that failed were asked with a hint; None where there were none.
      selected: what is trained on was chosen.
      trained: the model of this loop.
      evaluated: it was asked the development set.
    """

    number: int
    left_out: Mapping[str, int]
    generated: Done
    hinted: Done | None
    selected: Done
    trained: Done
    evaluated: Done

    @property
    def seconds(self) -> float:
        """Wall time of its stages."""
        stages = (self.generated, self.hinted, self.selected, self.trained, self.evaluated)
        return sum(done.seconds for done in stages if done is not None)


class Results:
    """Collects what was found, and writes it after every loop.

    Attributes:
      loops_without_gain: of the present arm, how many in a row.
    """

    def __init__(self, config: StarConfig, stages: Stages):
        """Takes the run, of which nothing has been found yet."""
        self._config, self._stages = config, stages
        self._arms: list[dict[str, Any]] = []
        self.loops_without_gain = 0

    def begin(self, seed: int, arm: Arm, start: Path, before: Done) -> None:
        """Begins an arm.

        Args:
          seed: of the arm.
          arm: which one.
          start: M0.
          before: M0 was asked the development set.
        """
        self.loops_without_gain = 0
        self._arms.append(
            {
                "seed": seed,
                "arm": arm,
                "start": {"model": str(start), "fingerprint": fingerprint(start)},
                "loops": [{"loop": 0, "evaluation": before.figures}],
                "best": {
                    "loop": 0,
                    "model": str(start),
                    "accuracy": before.figures["accuracy"],
                },
            }
        )

    def add(self, loop: Loop) -> None:
        """Adds a loop, and says in a line what it found."""
        arm = self._arms[-1]
        evaluation = loop.evaluated.figures
        arm["loops"].append(
            {
                "loop": loop.number,
                "questions_left_out": dict(loop.left_out),
                "attempts": loop.generated.figures,
                "hinted": loop.hinted.figures if loop.hinted is not None else None,
                "selection": loop.selected.figures,
                "training": loop.trained.figures,
                "evaluation": evaluation,
                "model": loop.trained.wrote[MODEL],
                "seconds": loop.seconds,
                "files": {
                    "attempts": self._relative(loop.generated.path(SAMPLES)),
                    "hinted": loop.hinted and self._relative(loop.hinted.path(SAMPLES)),
                    "wrong": self._relative(loop.selected.path(WRONG)),
                    "evaluation": self._relative(loop.evaluated.path(SAMPLES)),
                },
            }
        )
        gained = evaluation["accuracy"] > arm["best"]["accuracy"] + self._config.plateau.gain
        self.loops_without_gain = 0 if gained else self.loops_without_gain + 1
        if evaluation["accuracy"] > arm["best"]["accuracy"]:
            arm["best"] = {
                "loop": loop.number,
                "model": self._relative(loop.trained.path(MODEL)),
                "accuracy": evaluation["accuracy"],
            }
        self._print_loop(loop)
        self._write(complete=False)

    def finish(self) -> dict[str, Any]:
        """Writes the results as complete; returns them."""
        return self._write(complete=True)

    def _print_loop(self, loop: Loop) -> None:
        kept, found = loop.selected.figures, loop.evaluated.figures
        hinted = f" and {kept['hinted_kept']:,} with a hint" if loop.hinted is not None else ""
        console.say(
            f"   loop {loop.number}: {kept['right']:,} of {kept['attempts']:,} attempts right, "
            f"{kept['kept']:,} kept{hinted}; development set {found['accuracy']:.1%} "
            f"({found['accuracy_low']:.1%} to {found['accuracy_high']:.1%})"
        )
        if by_chance(found):
            console.say(
                f"warning: guessing gives as much ({found['chance']:.1%}): rationales of right "
                "guesses are no good ones"
            )

    def _write(self, *, complete: bool) -> dict[str, Any]:
        results = {
            "method": "star",
            "complete": complete,
            "task": self._config.questions.task,
            "by": self._config.questions.by,
            "arms": self._arms,
            **self._published(),
            "cost": self._stages.cost(),
        }
        directory = self._stages.directory
        files.write_text(directory / RESULTS, json.dumps(results, indent=1, ensure_ascii=False))
        files.write_text(directory / REPORT, recipe_page.render(results, directory))
        return results

    def _published(self) -> dict[str, Any]:
        sums = isinstance(self._config.form, AdditionScratchpad)
        return {"published": published()} if sums and self._config.questions.by else {}

    def _relative(self, path: Path) -> str:
        return str(path.relative_to(self._stages.directory))
