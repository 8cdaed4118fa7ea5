"""Opens a run's teacher: what the step, the data and the devices need to know of it."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from tlm_jax import models
from tlm_jax.alignment.vocabulary_map import SAME, VocabularyMap
from tlm_jax.checkpoints.live_teacher import TeacherModel
from tlm_jax.checkpoints.loading import load_params
from tlm_jax.checkpoints.processes import gather, is_primary
from tlm_jax.data.teachers.join import OpenTeacher, TeacherJoin
from tlm_jax.data.teachers.tokens import STEPS, TeacherTokens
from tlm_jax.errors import UserError
from tlm_jax.losses.distillation import Distillation
from tlm_jax.runs.opened.model import OpenedModel
from tlm_jax.runs.opened.reading import (
    ReadingSettings,
    border_between,
    described,
    student_reading,
)
from tlm_jax.runs.opened.settings import ModelSettings
from tlm_jax.runs.training import console
from tlm_jax.runs.training.config import RunConfig
from tlm_jax.runs.training.live_teacher import LiveTeacher
from tlm_jax.runs.training.student_vocabulary import student_vocabulary
from tlm_jax.runs.training.teacher_settings import check_cached, check_live, with_hard_targets
from tlm_jax.runs.training.trainable import with_shardings
from tlm_jax.sharding import rules
from tlm_jax.teacher_cache import StoredUnembedding
from tlm_jax.training.distillation import DistillationObjective
from tlm_jax.training.matching import InnerMatching
from tlm_jax.training.step_teacher import LiveArrays, LiveModel, own_features
from tlm_jax.training.teacher_batch import teacher_batch
from tlm_jax.types import Unembedding
from tlm_jax.vocabularies import Vocabulary
from tlm_jax.vocabularies.token_bytes import token_table


class RunTeacher(abc.ABC):
    """A teacher whose headers have been read.

    Attributes:
      live: the model that the step runs; None where its rows are cached.
      tokens: how a live teacher of another vocabulary reads the examples.
      join: how cached rows are joined with them.
    """

    live: LiveModel | None = None
    tokens: TeacherTokens | None = None
    join: TeacherJoin | None = None

    @abc.abstractmethod
    def features(self) -> Mapping[str, np.ndarray]:
        """Returns the features aligned with the student's targets, with no steps."""

    @abc.abstractmethod
    def abstract(self, mesh: Mesh) -> Any:
        """Returns shapes, types and shardings of what it has on the devices; None: nothing."""

    @abc.abstractmethod
    def load(self, mesh: Mesh) -> Any:
        """Returns what `abstract` describes."""

    @abc.abstractmethod
    def describe(self) -> str:
        """Returns a phrase for the terminal."""

    def identity(self) -> TeacherModel | None:
        """Returns what tells a live one from others; all processes call it together.

        The position of the data tells cached ones apart (`Pipeline.restore`).
        """
        return None

    @abc.abstractmethod
    def forward_flops(self, student: models.ModelConfig, batch: Mapping[str, Any]) -> float:
        """Returns the FLOPs that the step spends on what it says about a batch.

        Args:
          student: who learns.
          batch: the student's; arrays or shapes.
        """


def open_teacher(run: RunConfig) -> RunTeacher | None:
    """Opens the teacher of a run, if it has one.

    Raises:
      UserError: there is none where the objective wants one, or the other way round; no cache or
        model there; or it does not fit the student.
    """
    distils = isinstance(run.loss, DistillationObjective)
    if run.teacher is None or not distils:
        if distils or run.teacher is not None:
            raise UserError(
                "distillation needs both a teacher and its objective: include "
                "gin_configs/methods/distill.gin (and set TEACHER_CACHE) or distill_live.gin (and "
                "set TEACHER_PATH), or leave both out"
            )
        return None
    if isinstance(run.teacher, TeacherJoin):
        assert isinstance(run.loss, DistillationObjective)
        return _CachedTeacher(run.teacher, student_vocabulary(run), run.loss.distillation)
    return _LiveTeacher(run.teacher, run)


def inner_matching(run: RunConfig, teacher: RunTeacher | None) -> InnerMatching | None:
    """Returns what is matched between the inner states of student and teacher, if anything is.

    Raises:
      UserError: the teacher reads other tokens than the student, or one of the two models has not
        the layers that are to be matched.
    """
    if not isinstance(run.loss, DistillationObjective) or not run.loss.matching:
        return None
    assert teacher is not None
    assert teacher.live is not None
    if teacher.tokens is not None:
        raise UserError(
            "MATCHING compares states token by token, but the teacher has another vocabulary than "
            "the student: take a teacher with the student's, or leave MATCHING out"
        )
    return InnerMatching(tuple(run.loss.matching), run.model, teacher.live.config)


class _CachedTeacher(RunTeacher):
    """Rows that `TASK_with_teacher` tasks are joined with."""

    def __init__(self, join: TeacherJoin, vocabulary: Vocabulary, settings: Distillation):
        opened = OpenTeacher(join, vocabulary)
        check_cached(opened, settings)
        self._opened = opened
        self.join = with_hard_targets(join, settings) if opened.is_mapped else join

    def features(self) -> Mapping[str, np.ndarray]:
        return self._opened.features()

    def abstract(self, mesh: Mesh) -> Unembedding | None:
        stored = self._stored()
        if stored is None:
            return None

        def place(array: np.ndarray | None, axes: tuple[str, ...]) -> Any:
            if array is None:
                return None
            sharding = NamedSharding(mesh, rules.parameter_spec(axes, array.shape, mesh))
            return jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=sharding)

        matrix, bias = place(stored.matrix, ("embed", "vocab")), place(stored.bias, ("vocab",))
        return Unembedding(matrix, stored.scale, stored.soft_cap, bias)

    def load(self, mesh: Mesh) -> Unembedding | None:
        stored, abstract = self._stored(), self.abstract(mesh)
        if stored is None or abstract is None:
            return None

        def put(array: np.ndarray | None, like: Any) -> Any:
            if array is None:
                return None
            return jax.make_array_from_callback(array.shape, like.sharding, array.__getitem__)

        return abstract._replace(
            matrix=put(stored.matrix, abstract.matrix), bias=put(stored.bias, abstract.bias)
        )

    def describe(self) -> str:
        cache = self._opened.cache
        settings = cache.encoding.settings().items()
        kept = [f"{name} {value}" for name, value in settings if name != "name" and value]
        described = ", ".join([cache.encoding.name, *kept])
        return f"{len(cache):,} cached rows of {cache.header.teacher} ({described})"

    def forward_flops(self, student: models.ModelConfig, batch: Mapping[str, Any]) -> float:
        stored = self._stored()
        if stored is None:
            return 0.0
        return 2.0 * np.prod(batch["decoder_target_tokens"].shape) * stored.matrix.size

    def _stored(self) -> StoredUnembedding | None:
        return None if self._opened.num_candidates else self._opened.cache.unembedding


class _LiveTeacher(RunTeacher):
    """A model that runs in the step."""

    def __init__(self, settings: LiveTeacher, run: RunConfig):
        self._settings = settings
        student = student_vocabulary(run)
        chosen = ModelSettings(
            settings.path,
            settings.dtype,
            vocabulary=settings.vocabulary,
            reading=ReadingSettings(
                settings.add_bos, settings.add_eos, ("TEACHER_BOS", "TEACHER_EOS")
            ),
            vocabulary_setting="TEACHER_VOCABULARY",
        )
        with OpenedModel(chosen, lambda: student) as model:
            self._model, vocabulary, self.reading = model, model.vocabulary, model.reading
        self.live = LiveModel(model.config, settings.num_candidates or _NUM_CANDIDATES)
        self._student_ids: np.ndarray | None = None
        same = vocabulary.fingerprint == student.fingerprint
        self._check_positions(
            run.feature_lengths if same else settings.feature_lengths or run.feature_lengths,
            "TASK_FEATURE_LENGTHS" if same else "TEACHER_FEATURE_LENGTHS",
        )
        assert isinstance(run.loss, DistillationObjective)
        check_live(settings, run.loss.distillation, run.feature_lengths, same_vocabulary=same)
        if same:
            self._as_the_students(run)
            run.loss.distillation.check_label_smoothing()
            border = border_between(
                student_reading(run, student), self.reading, student, settings.path
            )
            self.live = dataclasses.replace(self.live, border=border)
        else:
            self._read_otherwise(run, vocabulary, student)

    def features(self) -> Mapping[str, np.ndarray]:
        return {} if self.tokens is None else {STEPS: np.zeros(0, np.int32)}

    def abstract(self, mesh: Mesh) -> LiveArrays:
        assert self.live is not None
        dtype = self._settings.parameters_dtype
        shapes = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, dtype),
            models.abstract_params(self.live.config),
        )
        axes = models.logical_axes(self.live.config)
        shardings = rules.named_shardings(axes, mesh, self._settings.rules(), shapes=shapes)
        ids: Any = None
        if self._student_ids is not None:
            everywhere = NamedSharding(mesh, PartitionSpec())
            ids = jax.ShapeDtypeStruct(self._student_ids.shape, np.int32, sharding=everywhere)
        return LiveArrays(with_shardings(shapes, shardings), ids)

    def load(self, mesh: Mesh) -> LiveArrays:
        assert self.live is not None
        abstract = self.abstract(mesh)
        config = self.live.config
        params = load_params(
            self._model.source,
            config,
            abstract.params,
            resize_vocabulary=True,
            announce=console.say,
        )
        if abstract.student_ids is None:
            return LiveArrays(params)
        return LiveArrays(params, jax.device_put(self._student_ids, abstract.student_ids.sharding))

    def describe(self) -> str:
        assert self.live is not None
        size = models.num_params(self.live.config) / 1e6
        vocabulary = "the student's" if self.tokens is None else "its own"
        return (
            f"{self._settings.path}, {size:,.1f}M parameters, {vocabulary} vocabulary, "
            + described(self.reading)
        )

    def forward_flops(self, student: models.ModelConfig, batch: Mapping[str, Any]) -> float:
        assert self.live is not None
        config = self.live.config
        if self.tokens is None:
            own = jax.eval_shape(lambda batch: teacher_batch(batch, student, config).batch, batch)
        else:
            own = own_features(batch)
        # Whatever it reads, it predicts the student's targets.
        predictions = int(np.prod(batch["decoder_target_tokens"].shape))
        return models.forward_flops(config, own, predictions)

    def identity(self) -> TeacherModel:
        step = self._model.source.step
        found = self._model.fingerprint if is_primary() else None
        return TeacherModel(
            self._settings.path + (f", step {step}" if step else ""), gather(found)[0]
        )

    def _check_positions(self, lengths: Mapping[str, int], setting: str) -> None:
        """Refuses rows that are longer than what the teacher has learned positions for."""
        positions = getattr(self._model.config, "max_positions", None)
        if positions is not None and sum(lengths.values()) > positions:
            raise UserError(
                f"the teacher {self._settings.path} has {positions} positions, but is to read "
                f"{sum(lengths.values())} tokens: lower {setting}"
            )

    def _as_the_students(self, run: RunConfig) -> None:
        """Leaves out rows that the teacher has beyond the student's: padding of one tokenizer."""
        assert self.live is not None
        theirs, ours = self.live.config.vocab_size, run.model.vocab_size
        if theirs > ours:
            config = dataclasses.replace(self.live.config, vocab_size=ours)
            self.live = dataclasses.replace(self.live, config=config)
        if theirs < ours:
            raise UserError(
                f"the teacher {self._settings.path} gives {theirs} logits and the student {ours}, "
                "of one tokenizer (rows beyond its tokens are padding): set VOCAB_SIZE to "
                f"{theirs}, with RESIZE_VOCABULARY=True where the student is a checkpoint"
            )

    def _read_otherwise(self, run: RunConfig, vocabulary: Vocabulary, student: Vocabulary) -> None:
        assert self.live is not None
        if run.data.pack:
            raise UserError(
                f"the teacher {self._settings.path} has another vocabulary than the student, so "
                "the two do not share rows: set PACK=False"
            )
        if run.on_policy is not None:
            raise UserError(
                f"the teacher {self._settings.path} has another vocabulary than the student, whose "
                "samples it cannot read: take a teacher with the student's, or leave ON_POLICY out"
            )
        lengths = dict(self._settings.feature_lengths or run.feature_lengths)
        self.tokens = TeacherTokens(
            vocabulary, self.live.config.architecture, lengths, self.reading
        )
        mapped = VocabularyMap.of(token_table(vocabulary), token_table(student)).maps[SAME]
        # The embedding may have more rows than the tokenizer has tokens.
        self._student_ids = np.full(self.live.config.vocab_size, -1, np.int32)
        self._student_ids[: len(mapped)] = mapped


_NUM_CANDIDATES = 64
"""Of a live teacher of another vocabulary, where no number is given."""
