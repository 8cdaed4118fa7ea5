"""Reads examples together with what a cached teacher says about them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
from jaxtyping import Integer

from tlm_jax.data.pipeline.reader import Reader
from tlm_jax.data.tasks import WITH_TEACHER
from tlm_jax.data.teachers.join import OpenTeacher, TeacherJoin, fill_of
from tlm_jax.errors import UserError
from tlm_jax.ragged import Ragged, TokenizedExamples
from tlm_jax.teacher_cache.steps import HiddenSteps, StepDistributions
from tlm_jax.vocabularies import Vocabulary


class TeacherReader(Reader):
    """Adds the teacher's features to another reader's examples.

    Args:
      base: the reader.
      teacher: the caches.
      joined: whether the examples are looked up; otherwise they are all without a teacher, so that
        they can be mixed with those that are.
    """

    def __init__(self, base: Reader, teacher: OpenTeacher, *, joined: bool = True):
        self.name = base.name
        self.features = base.features
        self.vocabulary = base.vocabulary
        self.num_examples = base.num_examples
        self._base = base
        self._teacher = teacher
        self._joined = joined

    def read(self, indices: Integer[np.ndarray, "n"]) -> TokenizedExamples:
        examples = self._base.read(indices)
        targets = examples.features["targets"]
        features = {
            name: np.full((len(targets.values), *like.shape[1:]), fill_of(name), like.dtype)
            for name, like in self._teacher.features().items()
        }
        if self._joined:
            places = [
                slice(int(start), int(start + length))
                for start, length in zip(targets.starts, targets.lengths)
            ]
            tokens = [targets.values[here] for here in places]
            for here, steps in zip(places, self._teacher.steps_of(examples.records, tokens)):
                if steps is not None:
                    _place({name: values[here] for name, values in features.items()}, steps)
        aligned = {name: Ragged(values, targets.lengths) for name, values in features.items()}
        return dataclasses.replace(examples, features={**examples.features, **aligned})


def join_readers(
    readers: Mapping[str, Reader], join: TeacherJoin | None, vocabulary: Vocabulary
) -> tuple[OpenTeacher | None, dict[str, Reader]]:
    """Opens the caches and wraps the readers of a run.

    Args:
      readers: by the name of their task; those that end in `_with_teacher` are joined.
      join: the settings, or None.
      vocabulary: the student's.

    Returns:
      the open caches, None where there are none; and the readers.

    Raises:
      UserError: a task wants a teacher and no cache is named, or the other way round.
    """
    joined = [name for name in readers if name.endswith(WITH_TEACHER)]
    if join is None and not joined:
        return None, dict(readers)
    if join is None:
        raise UserError(
            f"task {joined[0]!r} is to be joined with a teacher's rows, and no cache is named: "
            f"set TEACHER_CACHE, or take {joined[0].removesuffix(WITH_TEACHER)!r}."
        )
    if not joined:
        raise UserError(
            "a teacher's cache is named, but no task is to be joined with it: take "
            f"{next(iter(readers)) + WITH_TEACHER!r}, or set no TEACHER_CACHE."
        )
    teacher = OpenTeacher(join, vocabulary)
    wrapped: dict[str, Reader] = {
        name: TeacherReader(reader, teacher, joined=name.endswith(WITH_TEACHER))
        for name, reader in readers.items()
    }
    return teacher, wrapped


def _place(features: Mapping[str, np.ndarray], steps: StepDistributions | HiddenSteps) -> None:
    """Writes steps into the views of an example's features."""
    features["teacher_weights"][:] = steps.weights
    if isinstance(steps, HiddenSteps):
        features["teacher_hidden"][:] = steps.hidden
        return
    room = features["teacher_token_ids"].shape[1]
    width = min(room, steps.ids.shape[1])
    features["teacher_token_ids"][:, :width] = steps.ids[:, :width]
    features["teacher_logprobs"][:, :width] = steps.logprobs[:, :width]
    # log(Σ exp): the candidates beyond the batch's are part of what is outside them.
    beyond = np.concatenate([steps.logprobs[:, width:], steps.tail_logprobs[:, None]], axis=1)
    features["teacher_tail_logprobs"][:] = np.logaddexp.reduce(beyond, axis=1)
