"""Teacher that runs in the train step: a model of any format, read as it reads itself."""

from __future__ import annotations

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
from tlm_jax.data.teachers.tokens import STEPS, TeacherTokens
from tlm_jax.errors import UserError
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
from tlm_jax.runs.training.run_teacher import RunTeacher
from tlm_jax.runs.training.student_vocabulary import student_vocabulary
from tlm_jax.runs.training.teacher_settings import check_live
from tlm_jax.runs.training.trainable import with_shardings
from tlm_jax.sharding import rules
from tlm_jax.training.distillation import DistillationObjective
from tlm_jax.training.step_teacher import LiveArrays, LiveModel, own_features
from tlm_jax.training.teacher_batch import teacher_batch
from tlm_jax.vocabularies import Vocabulary
from tlm_jax.vocabularies.token_bytes import token_table

_NUM_CANDIDATES = 64
"""Of a live teacher of another vocabulary, where no number is given."""


class RunningTeacher(RunTeacher):
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
        positions = self._model.config.position_limit
        if positions is not None and sum(lengths.values()) > positions:
            raise UserError(
                f"the teacher {self._settings.path} has {positions} positions, but is to read "
                f"{sum(lengths.values())} tokens: lower {setting}"
            )

    def _as_the_students(self, run: RunConfig) -> None:
        """Leaves out rows that the teacher has beyond the student's: padding of one tokenizer."""
        assert self.live is not None
        teacher_rows, student_rows = self.live.config.vocab_size, run.model.vocab_size
        if teacher_rows > student_rows:
            config = dataclasses.replace(self.live.config, vocab_size=student_rows)
            self.live = dataclasses.replace(self.live, config=config)
        if teacher_rows < student_rows:
            raise UserError(
                f"the teacher {self._settings.path} gives {teacher_rows} logits and the student "
                f"{student_rows}, of one tokenizer (rows beyond its tokens are padding): set "
                f"VOCAB_SIZE to {teacher_rows}, with RESIZE_VOCABULARY=True where the student is "
                "a checkpoint"
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
