"""Teacher whose rows were cached, and the unembedding of its hidden states on the devices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding

from tlm_jax import models
from tlm_jax.data.teachers.join import OpenTeacher, TeacherJoin
from tlm_jax.losses.distillation import Distillation
from tlm_jax.runs.training.run_teacher import RunTeacher
from tlm_jax.runs.training.teacher_settings import check_cached, with_hard_targets
from tlm_jax.sharding import rules
from tlm_jax.teacher_cache import StoredUnembedding
from tlm_jax.types import Unembedding
from tlm_jax.vocabularies import Vocabulary


class CachedTeacher(RunTeacher):
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
