"""Teacher of a run: what the step, the data and the devices need to know of it."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import Any

import numpy as np
from jax.sharding import Mesh

from tlm_jax import models
from tlm_jax.checkpoints.live_teacher import TeacherModel
from tlm_jax.data.teachers.join import TeacherJoin
from tlm_jax.data.teachers.tokens import TeacherTokens
from tlm_jax.training.step_teacher import LiveModel


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
