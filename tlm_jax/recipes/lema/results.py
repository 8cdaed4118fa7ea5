"""What a run of LEMA found: arm by arm, in `results.json`, on the page and on the terminal."""

from __future__ import annotations

import dataclasses
import json
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from tlm_jax.recipes.done import Done
from tlm_jax.recipes.lema.config import LemaConfig
from tlm_jax.recipes.lema.correcting import CORRECTIONS, RATE
from tlm_jax.recipes.stages import Stages
from tlm_jax.reports import lema_page
from tlm_jax.runs.training import console, files
from tlm_jax.system import terminal

RESULTS, REPORT = "results.json", "report.html"

MARKS = {
    "test": "checkpoints chosen on the test set, as published: these figures are too high",
    "last": "the last checkpoint of each run",
    "development": "checkpoints chosen on the development set",
}


@dataclasses.dataclass(frozen=True)
class Measured:
    """An arm that is trained and measured.

    Attributes:
      round: 1; 2 after a second round of evolution.
      seed: of the arm.
      arm: its name.
      rows: what it is trained on was written.
      trained: it was trained.
      step: which checkpoint was chosen.
      evaluated: that one was asked the test tasks.
      compared: wrong and corrected paths were scored; None where that is not asked for.
    """

    round: int
    seed: int
    arm: str
    rows: Done
    trained: Done
    step: int
    evaluated: Done
    compared: Done | None


class Results:
    """Collects what was found, and writes it after every arm.

    Attributes:
      evolved: counts of new questions; None where there are none.
    """

    def __init__(self, config: LemaConfig, stages: Stages):
        """Takes the run, of which nothing has been found yet."""
        self._config, self._stages = config, stages
        self._runs: list[dict[str, Any]] = []
        self._mistakes: dict[str, Any] = {}
        self._start: dict[str, Any] = {}
        self.evolved: Mapping[str, Any] | None = None

    def corrected(self, name: str, paths: Done, kept: Done) -> None:
        """Takes the corrections of some questions, and says how many there are."""
        name = name.rstrip("/")
        self._mistakes[name] = {
            "paths": paths.figures,
            "corrections": kept.figures,
            "files": {
                "corrections": self._relative(kept, CORRECTIONS),
                "rate": self._relative(kept, RATE),
            },
        }
        found, figures = paths.figures, kept.figures
        console.say(
            f"   {found['wrong']:,} wrong paths of {found['solutions']:,} solutions; "
            f"{figures['kept']:,} corrected ({figures['kept'] / figures['paths']:.1%}) by "
            f"{figures['tries']:,} tries"
        )
        for reason, count in figures["left_out"].items():
            console.say(f"     {count:,} {reason}")

    def start(self, evaluated: Done, compared: Done | None) -> None:
        """Takes what the model can do from which all arms start."""
        self._start = {
            "model": str(self._config.training.initial_checkpoint_path),
            "evaluation": evaluated.figures,
            "perplexity": None if compared is None else compared.figures,
        }

    def add(self, one: Measured) -> None:
        """Takes an arm, and says in a line what it reached."""
        self._runs.append(
            {
                "round": one.round,
                "seed": one.seed,
                "arm": one.arm,
                **one.rows.figures,
                "steps": one.trained.figures["steps"],
                "development": one.trained.figures["curve"],
                "chosen": one.step,
                "model": self._relative(one.trained, f"model/checkpoints/{one.step}"),
                "evaluation": one.evaluated.figures,
                "perplexity": None if one.compared is None else one.compared.figures,
                "seconds": one.trained.seconds + one.evaluated.seconds,
            }
        )
        reached = ", ".join(
            f"{task} {found['greedy']['accuracy']:.1%}"
            for task, found in one.evaluated.figures.items()
        )
        console.say(f"   seed {one.seed}, {one.arm}: step {one.step}; {reached}")
        self._write(complete=False)

    def finish(self) -> dict[str, Any]:
        """Writes the results as complete, shows the table; returns them."""
        results = self._write(complete=True)
        _show(results)
        return results

    def _write(self, *, complete: bool) -> dict[str, Any]:
        directory = self._stages.directory
        results = {
            "method": "lema",
            "complete": complete,
            "task": self._config.questions.data_set,
            "chosen_on": self._config.choose_on,
            "mark": MARKS[self._config.choose_on],
            "mistakes": self._mistakes,
            "evolution": self.evolved,
            "start": self._start,
            "runs": self._runs,
            "table": table(self._runs),
            "cost": self._stages.cost(),
        }
        files.write_text(directory / RESULTS, json.dumps(results, indent=1, ensure_ascii=False))
        files.write_text(directory / REPORT, lema_page.render(results, directory))
        return results

    def _relative(self, done: Done, name: str) -> str:
        return str(done.path(name).relative_to(self._stages.directory))


def table(runs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Returns a row for each arm and round: what it reached, and how seeds differ.

    `accuracy` has by task and mode the `mean` over seeds, their standard deviation `spread` (None
    of a single one) and the `values`; rows and target tokens are means, `perplexity` likewise.
    """
    cells: dict[tuple[int, str], list[Mapping[str, Any]]] = {}
    for run in runs:
        cells.setdefault((run["round"], run["arm"]), []).append(run)
    rows = []
    for (number, arm), some in cells.items():
        accuracy = {
            task: {
                mode: over_seeds([run["evaluation"][task][mode]["accuracy"] for run in some])
                for mode in found
                if mode != "left_out"
            }
            for task, found in some[0]["evaluation"].items()
        }
        deltas = [run["perplexity"]["delta_nats"] for run in some if run["perplexity"]]
        rows.append(
            {
                "round": number,
                "arm": arm,
                "seeds": [run["seed"] for run in some],
                "rows": statistics.fmean(sum(run["rows"]) for run in some),
                "target_tokens": statistics.fmean(sum(run["target_tokens"]) for run in some),
                "corrections": statistics.fmean(run["corrections"] for run in some),
                "accuracy": accuracy,
                "delta_nats": over_seeds(deltas) if deltas else None,
            }
        )
    return rows


def over_seeds(values: Sequence[float | None]) -> dict[str, Any]:
    """Returns mean and standard deviation of values, one a seed."""
    known = [value for value in values if value is not None and math.isfinite(value)]
    return {
        "mean": statistics.fmean(known) if known else None,
        "spread": statistics.stdev(known) if len(known) > 1 else None,
        "values": list(values),
    }


def _show(results: Mapping[str, Any]) -> None:
    """Prints the arms side by side."""
    shown = Table(box=None, pad_edge=False, title=results["mark"])
    shown.add_column("arm")
    columns = [
        (task, mode) for task, found in results["table"][0]["accuracy"].items() for mode in found
    ]
    for name in ("seeds", "rows", "target tokens", *(f"{t} {m}" for t, m in columns)):
        shown.add_column(name, justify="right")
    for row in results["table"]:
        name = row["arm"] if row["round"] == 1 else f"{row['arm']}, round {row['round']}"
        cells = [lema_page.percent(row["accuracy"][task][mode]) for task, mode in columns]
        counts = (f"{row['rows']:,.0f}", f"{row['target_tokens']:,.0f}")
        shown.add_row(name, str(len(row["seeds"])), *counts, *cells)
    terminal.console().print(shown)
