"""Configuration of specialization, which gin_configs/recipes/specialization.gin fills in."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Literal, get_args

from tlm_jax.alignment.mapping import check_options
from tlm_jax.data.formats import FORMATS, get_format
from tlm_jax.errors import UserError, nearest
from tlm_jax.evaluation.curation import Curation
from tlm_jax.evaluation.rules.registry import rule_by_name
from tlm_jax.recipes.question_sets import Questions
from tlm_jax.recipes.specialization.evaluation import Evaluation
from tlm_jax.recipes.specialization.losses import LOSSES
from tlm_jax.recipes.specialization.mixture import Mixing, Mixture
from tlm_jax.recipes.specialization.teacher import Teacher
from tlm_jax.runs.training.config import RunConfig

TRAINED = "trained:"
"""Before the name of a model of `SpecializationConfig.trainings`."""


@dataclasses.dataclass(frozen=True)
class SpecializationConfig:
    """The method as a whole, and the runs that are compared.

    Attributes:
      questions: of which data set.
      teacher: who solves them, or where its solutions are.
      training: of each student; MODEL_DIR, task, start, seed and loss are set here. Its vocabulary
        is the student's.
      evaluation: on what, and by which prompts, every checkpoint is measured.
      trainings: further models that are trained first, by name; "trained:NAME" is one as a teacher
        or a start.
      starts: what students start from, by name: a model, or None for new parameters.
      mixtures: what they are trained on, by name: formats with their rates, or a list of formats,
        each of whose rows comes once an epoch.
      losses: by which of `losses.LOSSES` they learn.
      seeds: of students: new parameters, order, demonstrations.
      mixing: how rows become batches.
      curation: which of the teacher's solutions are kept.
      rule: of `tlm_jax.grade` for them; None: by the kind of answer, and "official_last_number" for
        the official files.
      alignment: from the teacher's tokens to the student's, "offsets" or "dtw"; the official loss
        has "dtw" in any case.
      choose_by: formats whose mean accuracy on the development set chooses a checkpoint.
      shown_alignments: so many aligned solutions are written to be looked at.
    """

    questions: Questions
    teacher: Teacher
    training: RunConfig
    evaluation: Evaluation
    trainings: Mapping[str, RunConfig] = dataclasses.field(default_factory=dict)
    starts: Mapping[str, str | None] = dataclasses.field(default_factory=lambda: {"raw": None})
    mixtures: Mapping[str, Mixture] = dataclasses.field(
        default_factory=lambda: {"four_formats": tuple(FORMATS)}
    )
    losses: Sequence[str] = ("match_distribution",)
    seeds: Sequence[int] = (0,)
    mixing: Mixing = dataclasses.field(default_factory=Mixing)
    curation: Curation = dataclasses.field(default_factory=Curation)
    rule: str | None = None
    alignment: Literal["offsets", "dtw"] = "offsets"
    choose_by: Sequence[str] = ("cot_zero_shot", "cot_in_context")
    shown_alignments: int = 3

    def __post_init__(self) -> None:
        for name in ("starts", "mixtures", "losses", "seeds", "choose_by"):
            given = getattr(self, name)
            if not given or len(set(given)) < len(given):
                raise UserError(f"{name.upper()} is {given!r}, expected one or more different ones")
        for loss in self.losses:
            if loss not in LOSSES:
                raise UserError(
                    f"LOSSES has {loss!r}, expected some of {', '.join(LOSSES)}."
                    f"{nearest(loss, LOSSES)}"
                )
        for kind in ("starts", "mixtures", "trainings"):
            for name in getattr(self, kind):
                _check_name(kind.upper(), name)
        for mixture in self.mixtures.values():
            self.mixing.check(mixture)
        for form in self.choose_by:
            get_format(form)
        check_options(self.alignment, "tail", "one_hot")
        if self.rule is not None:
            rule_by_name(self.rule)
        if self.curation.grade not in get_args(Literal["right", "any"]):
            raise UserError("the student is to learn what is right: Curation.grade is 'right'")
        self._check_models()
        if self.training.data.pack and self.mixing.one_format_at_a_time:
            raise UserError(
                "PACK=True puts rows of several formats together, and ONE_FORMAT or "
                f"BATCHES={self.mixing.batches!r} keeps them apart: set PACK=False"
            )
        if self.training.teacher is not None or self.training.on_policy is not None:
            raise UserError("LOSSES says what is learned from the teacher: leave TEACHER out")

    def _check_models(self) -> None:
        """Raises UserError for a model that is to be trained first and is not described."""
        named = {"TEACHER_MODEL": self.teacher.model, **self.starts}
        for what, model in named.items():
            if model is None or not model.startswith(TRAINED):
                continue
            name = model.removeprefix(TRAINED)
            if name not in self.trainings:
                raise UserError(
                    f"{what} is {model!r}, but TRAININGS describes no such model."
                    f"{nearest(name, self.trainings)} It has {', '.join(self.trainings) or 'none'}"
                )


def _check_name(kind: str, name: str) -> None:
    if not name or not all(c.isalnum() or c in "_-." for c in name):
        raise UserError(
            f"{kind} has the name {name!r}, which is to be a folder's: use letters, digits, - . _"
        )
