"""The stages that find mistakes and have them corrected: what decides each, and what it does."""

from __future__ import annotations

import collections
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tlm_jax.data.records import Record, read_records
from tlm_jax.data.run_data import RunData
from tlm_jax.recipes.asking import (
    SAMPLES,
    counted,
    is_remote,
    lines_digest,
    prompt_line,
    records_digest,
)
from tlm_jax.recipes.done import Done, Figures
from tlm_jax.recipes.lema import correcting, evolution, mistakes
from tlm_jax.recipes.lema.config import START, LemaConfig
from tlm_jax.recipes.lema.correctors import Work
from tlm_jax.recipes.lema.speaking import Speaking, read_of
from tlm_jax.recipes.question_sets import QuestionSets, write_question_sets
from tlm_jax.recipes.stages import Stage, meet, on_first_host
from tlm_jax.system.home import expanded
from tlm_jax.system.program_cache import ProgramCache
from tlm_jax.system.text_files import read_text


class MistakeStages:
    """Makes the stages up to the corrections."""

    def __init__(
        self,
        config: LemaConfig,
        sets: QuestionSets,
        data: RunData,
        compiled: ProgramCache,
        configuration: str,
    ):
        """Takes the run.

        Args:
          config: of the method.
          sets: its questions.
          data: where files are.
          compiled: programs that all stages share.
          configuration: as gin text, for the MODEL_DIRs.
        """
        self.config, self.sets, self._data = config, sets, data
        self.compiled, self.configuration = compiled, configuration
        assert config.training.initial_checkpoint_path is not None
        self.start = config.training.initial_checkpoint_path
        before = config.paths.before
        self._before = "" if before is None else read_text(expanded(before)).rstrip("\n") + "\n\n"

    def questions(self) -> Stage:
        """Writes both sets of questions where they can be read."""
        sets = self.sets
        return Stage(
            "questions",
            "other",
            lambda folder: write_question_sets(folder, sets),
            ["train.jsonl", "dev.jsonl"],
            {"train": records_digest(sets.train), "dev": records_digest(sets.dev)},
        )

    def solve(self, name: str, model: str, records: Sequence[Record]) -> Stage:
        """Asks a model for paths."""
        form = self.config.form
        lines = [prompt_line(r, self._before + form.cot_inputs(r)) for r in records]
        return self.ask(name, model, lines, self.config.paths.speaking, records)

    def ask(
        self,
        name: str,
        model: str,
        lines: Sequence[str],
        speaking: Speaking,
        records: Sequence[Record],
    ) -> Stage:
        """Asks a model.

        Args:
          name: of the stage.
          model: whom; "start" for the model from which the arms start.
          lines: what, as `asking.prompt_line` has it.
          speaking: how it answers.
          records: the questions, for the counts.
        """
        model = self.start if model == START else model
        rule, mesh = self.config.rule, self.config.training.mesh

        def work(folder: Path) -> Figures:
            speaking.draw(folder, model, list(lines), rule, mesh, self.compiled)
            return counted(folder / SAMPLES, records, None)

        return Stage(
            name,
            "generation",
            work,
            [SAMPLES],
            {
                "prompts": lines_digest(lines),
                "rule": rule,
                **speaking.decides(),
                **({"server": model} if is_remote(model) else {}),
            },
            read_of(model),
        )

    def paths(
        self,
        name: str,
        sampled: Mapping[str, Done],
        records: Sequence[Record],
        *,
        with_files: bool,
    ) -> Stage:
        """Finds the wrong paths.

        Args:
          name: of the stage.
          sampled: the stages that asked models, by the models' names.
          records: the questions that they were asked.
          with_files: whether the files of the configuration count, too.
        """
        settings = self.config.paths
        names = settings.files if with_files else ()
        found = mistakes.wrong_files(names, self._data.data_dir)
        by_id = {record.id: record for record in records}
        known = mistakes.KnownQuestions([*self.sets.train, *self.sets.dev])

        def solutions() -> Iterator[mistakes.Solution]:
            for model, done in sampled.items():
                yield from mistakes.sampled(done.path(SAMPLES), model, by_id)
            yield from mistakes.in_files(found, known)

        def work(folder: Path) -> Figures:
            return mistakes.collect(
                folder,
                solutions(),
                self.config.form,
                rule=self.config.rule,
                dev=self.sets.dev,
                most=settings.most,
                total=settings.total,
            )

        return Stage(
            name,
            "other",
            lambda folder: on_first_host(folder, work),
            [mistakes.WRONG, mistakes.RIGHT_FILE],
            {
                "rule": self.config.rule,
                "form": self.config.form,
                "most": [settings.most, settings.total],
                "questions": records_digest([*self.sets.train, *self.sets.dev]),
            },
            {
                **{f"samples of {model}": done.path(SAMPLES) for model, done in sampled.items()},
                **{f"paths in {path}": path for path in found},
            },
        )

    def correct(self, name: str, paths: Done) -> Stage:
        """Asks the corrector."""
        corrector = self.config.corrector
        work = self._work(paths)

        def answer(folder: Path) -> Figures:
            corrector.write(folder, work)
            meet(f"corrections {folder}")
            by_id = {r.id: r for r in work.paths}
            figures = counted(folder / SAMPLES, by_id.values(), None)
            return {n: figures[n] for n in ("questions", "samples", "tokens", "cut_off")}

        return Stage(
            name,
            "generation",
            answer,
            [SAMPLES],
            {
                "corrector": type(corrector).__name__,
                "form": self.config.form,
                "prompts": lines_digest(corrector.prompts(work)),
                **corrector.decides(work),
            },
            {"the wrong paths": paths.path(mistakes.WRONG), **corrector.reads(work)},
        )

    def choose(self, name: str, paths: Done, corrected: Done) -> Stage:
        """Chooses the corrections that are kept."""
        config = self.config

        def work(folder: Path) -> Figures:
            return correcting.choose(
                folder,
                corrected.path(SAMPLES),
                list(read_records(paths.path(mistakes.WRONG))),
                config.form,
                rule=config.rule,
                num_rated=config.num_rated,
                seed=config.questions.seed,
            )

        return Stage(
            name,
            "other",
            lambda folder: on_first_host(folder, work),
            [correcting.KEPT, correcting.CORRECTIONS],
            {
                "rule": config.rule,
                "form": config.form,
                "rated": [config.num_rated, config.questions.seed],
            },
            {
                "the wrong paths": paths.path(mistakes.WRONG),
                "the corrector's answers": corrected.path(SAMPLES),
            },
        )

    def evolved_questions(self, kept: Sequence[Record]) -> list[Record]:
        """Returns the seeds of new questions."""
        evolve = self.evolution
        return evolution.seeds(kept, evolve.num_seeds, evolve.seed)

    def evolved(
        self, name: str, questions: Sequence[Record], dropped: Mapping[str, int], solved: Done
    ) -> Stage:
        """Gives new questions the answer of the majority."""
        rule = self.config.rule or "numeric"

        def work(folder: Path) -> Figures:
            counts = collections.Counter(dropped)
            return evolution.answered(folder, questions, solved.path(SAMPLES), rule, counts)

        return Stage(
            name,
            "other",
            lambda folder: on_first_host(folder, work),
            [evolution.EVOLVED],
            {"rule": rule, "questions": records_digest(questions)},
            {"the answers": solved.path(SAMPLES)},
        )

    @property
    def evolution(self) -> evolution.Evolution:
        """How new questions are made."""
        assert self.config.evolution is not None
        return self.config.evolution

    def _work(self, paths: Done) -> Work:
        records = list(read_records(paths.path(mistakes.WRONG)))
        return Work(
            records,
            self.config.form,
            self._data,
            self.start,
            self.config.training.mesh,
            self.compiled,
        )
