"""STaR's loop: ask, keep what is right, ask the rest with hints, train anew, evaluate."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tlm_jax.data.records import Record
from tlm_jax.errors import UserError
from tlm_jax.recipes.asking import SAMPLES
from tlm_jax.recipes.done import Done, fingerprint
from tlm_jax.recipes.recipe import Method, Planned
from tlm_jax.recipes.stages import Stages
from tlm_jax.recipes.star.asking import Asker
from tlm_jax.recipes.star.config import Arm, StarConfig
from tlm_jax.recipes.star.plan import planned_stages
from tlm_jax.recipes.star.questions import read_questions
from tlm_jax.recipes.star.results import Loop, Results
from tlm_jax.recipes.star.selection import Pass, failed_questions
from tlm_jax.recipes.star.work import MODEL, StarStages, hinted_questions
from tlm_jax.runs.training import console
from tlm_jax.runs.training.student_vocabulary import run_data


@dataclasses.dataclass(frozen=True)
class Star(Method):
    """STaR, as a recipe.

    Attributes:
      config: of the method.
    """

    config: StarConfig

    def plan(self) -> list[Planned]:
        return planned_stages(self.config)

    def run(self, stages: Stages, configuration: str) -> dict[str, Any]:
        return _Run(self.config, stages, configuration).run()


class _Run:
    """One run: all seeds and arms."""

    def __init__(self, config: StarConfig, stages: Stages, configuration: str):
        self._config, self._stages = config, stages
        data = run_data(config.training.data)
        self._sets = read_questions(config.questions, data)
        self._make = StarStages(Asker(config, data, stages.compiled), configuration)
        self._results = Results(config, stages)

    def run(self) -> dict[str, Any]:
        self._stages.run(self._make.questions(self._sets))
        for seed in self._config.seeds:
            start = self._start(seed)
            before = self._evaluate(f"seed-{seed}/loop-00/evaluate", start)
            for arm in self._config.arms:
                self._results.begin(seed, arm, start, before)
                self._loops(seed, arm, start)
        return self._results.finish()

    def _start(self, seed: int) -> Path:
        """Returns M0."""
        pretraining, training = self._config.pretraining, self._config.training
        if pretraining is not None:
            return self._stages.run(self._make.pretrain(seed, pretraining)).path(MODEL)
        assert training.initial_checkpoint_path is not None
        return Path(training.initial_checkpoint_path).expanduser()

    def _loops(self, seed: int, arm: Arm, start: Path) -> None:
        """Does the loops of an arm, until accuracy no longer rises."""
        model, first = start, fingerprint(start)
        for loop in range(1, self._config.loops + 1):
            if self._config.restart and fingerprint(start) != first:
                raise UserError(f"the model {start}, from which each loop starts, has changed")
            found = self._loop(seed, arm, loop, model, start if self._config.restart else model)
            model = found.trained.path(MODEL)
            self._results.add(found)
            if self._results.loops_without_gain == self._config.plateau.loops:
                console.say(
                    f"== the {arm} arm ends after loop {loop}: no gain in "
                    f"{self._results.loops_without_gain} loops"
                )
                return

    def _loop(self, seed: int, arm: Arm, number: int, model: Path, start: Path) -> Loop:
        folder = f"seed-{seed}/{arm}/loop-{number:02d}"
        questions = self._sets.of_loop(number)
        records = questions.asked
        # Both arms begin with the same model, asked the same.
        shared = f"seed-{seed}/loop-01" if number == 1 else folder
        sampling = dataclasses.replace(
            self._config.sampling, seed=self._config.sampling.seed + 1000 * seed + number
        )
        generated = self._stages.run(self._make.ask(f"{shared}/generate", model, records, sampling))
        by = fingerprint(model)
        passes = [Pass(generated.path(SAMPLES), False, by, number)]
        hinted = None
        if arm == "rationalization":
            again = self._failed(generated, records, seed, number)
            if again:
                drawn = self._config.hinted_sampling(sampling)
                stage = self._make.ask(f"{folder}/rationalize", model, again, drawn, hint=True)
                hinted = self._stages.run(stage)
                passes.append(Pass(hinted.path(SAMPLES), True, by, number))
        selected = self._stages.run(self._make.select(f"{folder}/select", passes, records))
        examples = selected.figures["examples"]
        batch_size = self._config.training.batch_size
        steps = self._config.schedule.steps(
            number, examples, batch_size, rationalizes=arm == "rationalization"
        )
        if examples < batch_size and not self._config.training.data.pack:
            console.say(
                f"note: {examples:,} examples are fewer than the {batch_size:,} rows of a batch: "
                "each step sees some of them more than once"
            )
        trained = self._stages.run(
            self._make.train(f"{folder}/train", selected, start, seed, steps)
        )
        evaluated = self._evaluate(f"{folder}/evaluate", trained.path(MODEL))
        return Loop(number, questions.left_out, generated, hinted, selected, trained, evaluated)

    def _failed(
        self, generated: Done, records: Sequence[Record], seed: int, loop: int
    ) -> tuple[Record, ...]:
        by_id = {record.id: record for record in records}
        failed = failed_questions(generated.path(SAMPLES), by_id)
        return hinted_questions(failed, self._config.rationalized_share, seed, loop)

    def _evaluate(self, name: str, model: Path) -> Done:
        """Answers the development set greedily."""
        greedy = dataclasses.replace(
            self._config.sampling, temperature=0.0, num_samples=1, repetition_penalty=1.0
        )
        stage = self._make.ask(name, model, self._sets.dev, greedy, kind="evaluation")
        return self._stages.run(stage)
