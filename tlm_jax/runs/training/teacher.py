"""Opening of a run's teacher, and what is matched between its inner states and the student's."""

from __future__ import annotations

from tlm_jax.data.teachers.join import TeacherJoin
from tlm_jax.errors import UserError
from tlm_jax.runs.training.cached_teacher import CachedTeacher
from tlm_jax.runs.training.config import RunConfig
from tlm_jax.runs.training.run_teacher import RunTeacher
from tlm_jax.runs.training.running_teacher import RunningTeacher
from tlm_jax.runs.training.student_vocabulary import student_vocabulary
from tlm_jax.training.distillation import DistillationObjective
from tlm_jax.training.matching import InnerMatching


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
        return CachedTeacher(run.teacher, student_vocabulary(run), run.loss.distillation)
    return RunningTeacher(run.teacher, run)


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
