"""The stages that make a teacher's solutions: what each is decided by, and what it does."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from tlm_jax.data.formatted import EMBEDDED_VOCABULARY
from tlm_jax.data.run_data import RunData
from tlm_jax.data.teachers.join import TeacherJoin
from tlm_jax.recipes import asking
from tlm_jax.recipes.done import Done, Figures
from tlm_jax.recipes.question_sets import write_question_sets
from tlm_jax.recipes.specialization import aligning, selection
from tlm_jax.recipes.specialization.config import TRAINED, SpecializationConfig
from tlm_jax.recipes.specialization.losses import LOSSES, Alignment
from tlm_jax.recipes.specialization.questions import PooledQuestions
from tlm_jax.recipes.stages import Stage, on_first_host
from tlm_jax.recipes.trainings import decides
from tlm_jax.runs.cache_teacher.import_config import ImportConfig
from tlm_jax.runs.inference.config import InferenceConfig, PromptsConfig
from tlm_jax.runs.opened.model import OpenedModel
from tlm_jax.runs.opened.settings import ModelSettings
from tlm_jax.runs.training.config import RunConfig
from tlm_jax.runs.training.session import run_training
from tlm_jax.runs.training.student_vocabulary import named_vocabulary
from tlm_jax.system.home import expanded
from tlm_jax.system.program_cache import ProgramCache
from tlm_jax.vocabularies import Vocabulary, vocabulary_from_name

MODEL = "model"
"""The MODEL_DIR in the folder of a stage that trains."""
EVALUATION = "evaluation"
"""Where the answers lie in the folder of a stage that evaluates."""
_LOOKED_AT = 1000
"""Solutions whose prompts are looked at for demonstrations that have no room."""


class SolutionStages:
    """Makes the stages up to the students."""

    def __init__(
        self,
        config: SpecializationConfig,
        sets: PooledQuestions,
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
        self.lengths = config.training.feature_lengths

    @property
    def vocabulary(self) -> Vocabulary:
        """The student's."""
        return named_vocabulary(self.config.training.data) or EMBEDDED_VOCABULARY

    def questions(self) -> Stage:
        """Writes both sets of questions where they can be read."""
        sets = self.sets
        return Stage(
            "questions",
            "other",
            lambda folder: write_question_sets(folder, sets),
            ["train.jsonl", "dev.jsonl"],
            {
                "train": asking.records_digest(sets.train),
                "dev": asking.records_digest(sets.dev),
            },
        )

    def trained(self, name: str, run: RunConfig) -> Stage:
        """Trains a teacher or a start."""
        start, examples = run.initial_checkpoint_path, run.data.examples_file
        reads = {} if start is None else {"the model it starts from": asking.model_path(start)}
        if examples is not None:
            reads["the examples"] = expanded(examples)
        return Stage(
            f"trained/{name}",
            "training",
            lambda folder: {"steps": self.train_model(folder, run)},
            [MODEL],
            {"training": decides(run)},
            reads,
        )

    def sample(self, model: str) -> Stage:
        """Asks the teacher all questions."""
        teacher, records = self.config.teacher, self.sets.train
        prompts = teacher.prompts(records, self.sets.pool, self._data)
        lines = [asking.prompt_line(record, text) for record, text in zip(records, prompts)]
        config = InferenceConfig(
            model,
            "",
            PromptsConfig(file="", add_bos=teacher.add_bos, add_eos=teacher.add_eos),
            teacher.sampling,
            teacher.server,
            teacher.vocabulary,
            teacher.dtype,
            teacher.batch_size,
            self.config.rule,
            self.config.training.mesh,
        )

        def work(folder: Path) -> Figures:
            if not teacher.is_remote:
                self._teacher_vocabulary(model)  # which says what is to be set where there is none
            asking.draw(folder, lines, config, self.compiled)
            return asking.counted(folder / asking.SAMPLES, records, None)

        named = {}
        if teacher.is_remote:
            named = {"server": model, "extra": dict(teacher.server.extra)}
        return Stage(
            "sample",
            "generation",
            work,
            [asking.SAMPLES],
            {
                "prompts": asking.lines_digest(lines),
                "sampling": teacher.sampling,
                "rule": self.config.rule,
                "dtype": teacher.dtype,
                "bos and eos": [teacher.add_bos, teacher.add_eos],
                "vocabulary": _digest(teacher.vocabulary),
                **named,
            },
            {} if named else {"the teacher": asking.model_path(model)},
        )

    def select(self, sampled: Done | None, model: str | None) -> Stage:
        """Chooses the solutions, and caches what the teacher said of them."""
        teacher, config = self.config.teacher, self.config
        if sampled is not None:
            source = "openai" if teacher.is_remote else "samples"
            found = [sampled.path(asking.SAMPLES)]
        else:
            source = str(teacher.source)
            found = [expanded(path) for path in teacher.files]
        local = source == "samples"
        reads = {f"solutions in {path.name}": path for path in _files(found)}

        def work(folder: Path) -> Figures:
            vocabulary = self._teacher_vocabulary(model) if local else None
            imported = ImportConfig(
                source,
                tuple(found),
                folder,
                teacher.name,
                vocabulary=vocabulary,
                keep_unfinished=config.curation.unfinished,
            )
            # Of a file of others' the questions are those that stand in it.
            asked = self.sets.train if sampled is not None else ()
            dev = self.sets.dev
            return selection.select(folder, imported, asked, dev, config.curation, config.rule)

        return Stage(
            "select",
            "other",
            lambda folder: on_first_host(folder, work),
            [selection.EXAMPLES, selection.CACHED],
            {
                "curation": config.curation,
                "rule": config.rule,
                "source": source,
                "teacher": teacher.name,
                "vocabulary": _digest(teacher.vocabulary),
                "development set": asking.records_digest(self.sets.dev),
            },
            reads,
        )

    def align(self, selected: Done, method: Alignment) -> Stage:
        """Aligns the solutions with the student's tokens, and leaves out what has no room."""
        official = any(LOSSES[loss].official for loss in self.config.losses)
        published = official and method == "dtw"
        settings = TeacherJoin(
            [""], alignment=method, lost_mass="unnormalized" if published else "tail"
        )
        join = dataclasses.replace(settings, caches=[str(selected.path(selection.CACHE))])

        def work(folder: Path) -> Figures:
            return aligning.align(
                folder,
                selected.path(selection.EXAMPLES),
                join,
                self.vocabulary,
                max_inputs=self.lengths["inputs"],
                max_targets=self.lengths["targets"],
                shown=self.config.shown_alignments,
            )

        return Stage(
            f"align/{method}",
            "other",
            lambda folder: on_first_host(folder, work),
            [aligning.EXAMPLES, aligning.ALIGNED],
            {
                "join": settings,
                "lengths": dict(self.lengths),
                "vocabulary": self.vocabulary.fingerprint,
                "shown": self.config.shown_alignments,
            },
            kept(selected),
        )

    def train_model(self, folder: Path, run: RunConfig) -> int:
        """Trains a model in the folder of a stage; returns its steps."""
        run = dataclasses.replace(run, model_dir=str(folder / MODEL))
        return run_training(run, self.configuration, self.compiled)

    def _teacher_vocabulary(self, model: str | None) -> Vocabulary | str:
        teacher = self.config.teacher
        if teacher.vocabulary is not None or model is None:
            return teacher.vocabulary or EMBEDDED_VOCABULARY
        settings = ModelSettings(model, teacher.dtype, vocabulary_setting="TEACHER_VOCABULARY")
        with OpenedModel(settings) as opened:
            return opened.vocabulary


def located(model: str, trained: Mapping[str, Done]) -> str:
    """Returns where a model of the configuration lies, one that is trained first included."""
    if model.startswith(TRAINED):
        return str(trained[model.removeprefix(TRAINED)].path(MODEL))
    return model


def kept(selected: Done) -> dict[str, Path]:
    """Returns what says which solutions were kept, and what the teacher said of them."""
    return {
        "the kept solutions": selected.path(selection.EXAMPLES),
        "the teacher's cache": selected.path(selection.CACHED),
    }


def _files(paths: Sequence[Path]) -> list[Path]:
    """Returns files, of directories of pickles those in them."""
    found = []
    for path in paths:
        found += sorted(path.glob("*.pkl")) if path.is_dir() else [path]
    return found


def _digest(vocabulary: Vocabulary | str | None) -> str | None:
    """Returns the content of a vocabulary that is named; None: that beside the model."""
    if isinstance(vocabulary, str):
        vocabulary = vocabulary_from_name(vocabulary)
    return None if vocabulary is None else vocabulary.fingerprint
