"""The stages that a run of TeacherLM comes to, with their sizes."""

from __future__ import annotations

from tlm_jax import models
from tlm_jax.checkpoints.pretrained import open_pretrained
from tlm_jax.data.teacher_lm.students import STUDENT_FORMATS
from tlm_jax.errors import UserError
from tlm_jax.recipes.asking import is_remote, model_path
from tlm_jax.recipes.recipe import Planned
from tlm_jax.recipes.teacher_lm.config import (
    ALL_FIELDS,
    MULTI_TASK,
    TeacherLMConfig,
    TeacherTraining,
)
from tlm_jax.recipes.teacher_lm.enhancing import elicitation_lines
from tlm_jax.recipes.teacher_lm.questions import QuestionSets, read_questions
from tlm_jax.recipes.teacher_lm.students import is_mid, steps_of, student_runs
from tlm_jax.runs.training import console
from tlm_jax.runs.training.config import RunConfig
from tlm_jax.runs.training.student_vocabulary import run_data

_LETTERS_A_TOKEN = 4
"""Of English text."""


def planned_stages(config: TeacherLMConfig) -> list[Planned]:
    """Returns the stages in their order, each at its most.

    Where data or models are not at hand a note says so, and sizes are those of the settings.

    Raises:
      UserError: the configuration cannot work.
    """
    sets, teacher = _questions(config), config.teacher
    found = [Planned("questions", "other")]
    if isinstance(teacher, TeacherTraining) and config.asked:
        for name, steps in zip((MULTI_TASK, ALL_FIELDS), teacher.steps):
            found += _taught(name, teacher, steps)
        for field in config.asked:
            found += _taught(field, teacher, teacher.steps[2])
    count = len(sets.train) if sets else _count(config, "train")
    for field in config.asked:
        found.append(_generation(field, config, sets, count))
    found.append(Planned("enhance/records", "other"))
    asked = len(sets.dev) + len(sets.test) if sets else _count(config, "dev", "test")
    tests = len(sets.test) if sets else _count(config, "test")
    for run in student_runs(config):
        template = config.students[run.size]
        sequences = count * len(STUDENT_FORMATS[run.form])
        steps, period = steps_of(template, sequences, config.epochs)
        found.append(_training(f"{run.folder}/train", template, steps))
        ranked = asked * -(-steps // period) if period else 0
        tokens = ranked * config.asked_lengths["inputs"]
        flops = 2 * models.num_params(template.model)
        name = f"{run.folder}/evaluate"
        found.append(Planned(name, "evaluation", ranked, tokens, 0, flops * tokens))
        if config.voting.num_samples and is_mid(run.form):
            votes = tests * config.voting.num_samples
            new = votes * config.voting.max_tokens
            name = f"{run.folder}/vote"
            found.append(Planned(name, "evaluation", votes, 0, new, flops * new))
    return found


def _questions(config: TeacherLMConfig) -> QuestionSets | None:
    try:
        return read_questions(config.questions, config.layout, run_data(config.data))
    except UserError as error:
        if "To get it:" not in str(error):
            raise  # not of data that are somewhere else
        console.say(f"note: sizes are those of the settings; {error}")
        return None


def _count(config: TeacherLMConfig, *names: str) -> int:
    questions = config.questions
    return sum(len(getattr(questions, n)) * (getattr(questions, f"num_{n}") or 0) for n in names)


def _taught(name: str, teacher: TeacherTraining, steps: int) -> list[Planned]:
    run = teacher.training
    checkpoints = -(-steps // run.checkpoints.period_steps)
    ranked = checkpoints * len(teacher.rank_tasks) * (teacher.rank_examples or 0)
    note = "" if teacher.rank_examples else "all questions of TEACHER_RANK_TASKS"
    return [
        _training(f"teacher/{name}/train", run, steps),
        Planned(f"teacher/{name}/choose", "evaluation", ranked, note=note),
    ]


def _training(name: str, run: RunConfig, steps: int) -> Planned:
    tokens = steps * run.batch_size * sum(run.feature_lengths.values())
    flops = 6 * models.num_params(run.model) * tokens
    return Planned(name, "training", steps, 0, tokens, flops)


def _generation(
    field: str, config: TeacherLMConfig, sets: QuestionSets | None, count: int
) -> Planned:
    lines = elicitation_lines(sets.train, field, config.layout) if sets else []
    read = sum(map(len, lines)) // _LETTERS_A_TOKEN
    new = count * config.sampling.max_tokens
    params, note = _teacher_params(config, field)
    flops = 2 * params * (read + new)
    return Planned(f"enhance/{field}", "generation", count, read, new, flops, note)


def _teacher_params(config: TeacherLMConfig, field: str) -> tuple[int, str]:
    teacher = config.teacher
    if isinstance(teacher, TeacherTraining):
        return models.num_params(teacher.training.model), ""
    model = teacher if isinstance(teacher, str) else teacher[field]
    if is_remote(model):
        return 0, "behind a server"
    if not model.startswith("asset:") and not model_path(model).exists():
        return 0, f"there is no model at {model} yet"
    return models.num_params(open_pretrained(model).config), ""
