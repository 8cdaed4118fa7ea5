"""Settings of distillation that a run's kind of teacher cannot honour: refused, never ignored.

docs/design/distillation.md has the table of settings and kinds of teachers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from tlm_jax.data.teachers.join import OpenTeacher, TeacherJoin
from tlm_jax.errors import UserError
from tlm_jax.losses.distillation import Distillation
from tlm_jax.losses.divergences import divergence
from tlm_jax.runs.training.live_teacher import LiveTeacher
from tlm_jax.teacher_cache import Sampled


def with_hard_targets(join: TeacherJoin, settings: Distillation) -> TeacherJoin:
    """Returns the settings with `hard` decided.

    A token that is its own target with probability 1 teaches by most divergences what cross entropy
    does. It cannot be learned from where the divergence is not bounded without the teacher's mass,
    and says nothing where both distributions are divided by their mass on it alone.

    Raises:
      UserError: "one_hot" is asked for where nothing can be learned from it.
    """
    renormalized = settings.support == "renormalized"
    if divergence(settings.divergence).is_bounded_without_mass and not renormalized:
        return join if join.hard else dataclasses.replace(join, hard="one_hot")
    if join.hard == "one_hot":
        why = "SUPPORT='renormalized'" if renormalized else f"DIVERGENCE={settings.divergence!r}"
        raise UserError(
            f"TEACHER_HARD_STEPS='one_hot' gives tokens without a counterpart themselves as the "
            f"whole distribution, of which {why} can learn nothing: set TEACHER_HARD_STEPS='drop' "
            "(WITHOUT_TEACHER says what trains them), or leave it out"
        )
    return dataclasses.replace(join, hard="drop")


def check_cached(opened: OpenTeacher, settings: Distillation) -> None:
    """Raises UserError for a setting that these caches cannot honour."""
    join, cache = opened.join, opened.cache
    where = join.caches[0]
    if not opened.is_mapped:
        _check_own_tokens(join, where)
    if cache.encoding.name == "hidden":
        if settings.support != "tail":
            raise _whole("SUPPORT", settings.support, f"{where} holds hidden states")
        if join.num_candidates is not None:
            raise _whole("TEACHER_CANDIDATES", join.num_candidates, f"{where} holds hidden states")
        return  # whole distributions: any temperature, any divergence
    _check_support(settings)
    if cache.header.temperature != settings.temperature:
        raise UserError(
            f"{where} holds distributions at temperature {cache.header.temperature:g}, but the "
            f"student's is {settings.temperature:g}: set DISTILLATION_TEMPERATURE to the cache's, "
            "or score at the student's (TEMPERATURE of cache_teacher score)"
        )
    bounded = divergence(settings.divergence).is_bounded_without_mass
    if opened.is_mapped and join.lost_mass != "tail" and settings.support == "tail" and not bounded:
        raise UserError(
            f"TEACHER_LOST_MASS={join.lost_mass!r} leaves no mass outside the teacher's "
            f"candidates, where {settings.divergence} is infinite then: set "
            "TEACHER_LOST_MASS='tail', or another DIVERGENCE"
        )
    if isinstance(cache.encoding, Sampled):
        _check_draws(opened, cache.encoding.num_draws, settings)


def check_live(
    teacher: LiveTeacher,
    settings: Distillation,
    feature_lengths: Mapping[str, int],
    *,
    same_vocabulary: bool,
) -> None:
    """Raises UserError for a setting that a teacher that runs in the step cannot honour."""
    if same_vocabulary:
        where = f"the teacher {teacher.path} has the student's vocabulary"
        if settings.support != "tail":
            raise _whole("SUPPORT", settings.support, where)
        if teacher.num_candidates is not None:
            raise _whole("TEACHER_CANDIDATES", teacher.num_candidates, where)
        if teacher.feature_lengths is not None:
            raise UserError(
                f"TEACHER_FEATURE_LENGTHS is {dict(teacher.feature_lengths)}, but {where} and "
                "reads the student's rows: leave it out (TASK_FEATURE_LENGTHS is for both)"
            )
        return
    _check_support(settings)
    given = teacher.feature_lengths
    if given is not None and set(given) != set(feature_lengths):
        raise UserError(
            f"TEACHER_FEATURE_LENGTHS is {dict(given)}: expected a length for each of "
            f"{', '.join(feature_lengths)}, as in TASK_FEATURE_LENGTHS"
        )


def _check_support(settings: Distillation) -> None:
    fits = divergence(settings.divergence).fits_parts
    if settings.support == "unnormalized" and not fits:
        raise UserError(
            f"SUPPORT='unnormalized' sums over candidates alone, where {settings.divergence} is "
            "least if the student gives them less than the teacher does: set SUPPORT='tail', or "
            "DIVERGENCE='forward_kl' as published"
        )


def _check_own_tokens(join: TeacherJoin, where: str) -> None:
    given = {
        "TEACHER_ALIGNMENT": (join.alignment, "offsets"),
        "TEACHER_LOST_MASS": (join.lost_mass, "tail"),
        "TEACHER_HARD_STEPS": (join.hard, None),
    }
    for name, (value, default) in given.items():
        if value != default:
            raise UserError(
                f"{name} is {value!r}, but {where} has the student's vocabulary, so that nothing "
                f"is mapped or lost: leave {name} out"
            )


def _check_draws(opened: OpenTeacher, num_draws: int, settings: Distillation) -> None:
    """Draws give the right gradient in expectation only as they were drawn, and linearly."""
    where, wanted = opened.join.caches[0], opened.join.num_candidates
    without = f"{where} holds draws, from which"
    instead = "use a cache of the encoding topk"
    if not divergence(settings.divergence).unbiased_from_samples:
        raise UserError(
            f"{without} only forward_kl is learned without bias, not {settings.divergence}: set "
            f"DIVERGENCE='forward_kl', or {instead} or hidden"
        )
    if settings.support == "renormalized":
        raise UserError(
            f"{without} nothing is learned without bias by SUPPORT='renormalized', because the "
            f"student's mass on tokens that happen to be drawn divides it: set SUPPORT='tail', or "
            f"{instead}"
        )
    if opened.is_mapped:
        raise UserError(
            f"{without} a student of another vocabulary does not learn without bias, because the "
            f"mass of draws that it cannot write goes to tokens that happen not to be drawn: "
            f"{instead}"
        )
    if wanted is not None and wanted < num_draws:
        raise UserError(
            f"{without} TEACHER_CANDIDATES={wanted} would leave out the rarer of {num_draws}, "
            f"with bias: leave TEACHER_CANDIDATES out, or {instead}"
        )


def _whole(name: str, value: object, where: str) -> UserError:
    return UserError(
        f"{name} is {value!r}, but {where}, so that whole distributions are compared and there are "
        f"no candidates: leave {name} out, or use a cache of the encoding topk"
    )
