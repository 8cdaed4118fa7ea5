"""The stages that a run of specialization comes to, with their sizes."""

from __future__ import annotations

from pathlib import Path

from tlm_jax import models
from tlm_jax.checkpoints.pretrained import open_pretrained
from tlm_jax.data.formats import FORMATS
from tlm_jax.errors import UserError
from tlm_jax.recipes.asking import model_path
from tlm_jax.recipes.recipe import Planned
from tlm_jax.recipes.specialization.config import TRAINED, SpecializationConfig
from tlm_jax.recipes.specialization.questions import PooledQuestions, read_questions
from tlm_jax.recipes.specialization.students import alignment_of, student_runs
from tlm_jax.runs.training import console
from tlm_jax.runs.training.config import RunConfig
from tlm_jax.runs.training.student_vocabulary import run_data

_LETTERS_A_TOKEN = 4
"""Of English text."""
_COUNTED = 64


def planned_stages(config: SpecializationConfig) -> list[Planned]:
    """Returns the stages in their order, each at its most.

    Where data or models are not at hand a note says so, and sizes are those of the settings.

    Raises:
      UserError: the configuration cannot work.
    """
    sets = _questions(config)
    found = [Planned("questions", "other")]
    found += [_training(f"trained/{name}", run) for name, run in config.trainings.items()]
    if config.teacher.model is not None:
        found.append(_sampling(config, sets))
    found.append(Planned("select", "other"))
    found += [
        Planned(f"align/{method}", "other")
        for method in dict.fromkeys(alignment_of(config, loss) for loss in config.losses)
    ]
    flops = 2 * models.num_params(config.training.model)
    for name, start in config.starts.items():
        if start is not None:
            found.append(_evaluation(f"starts/{name}/evaluate", config, 1, flops))
    steps, period = config.training.train_steps, config.training.checkpoints.period_steps
    for run in student_runs(config):
        found.append(_training(f"{run.folder}/train", config.training))
        checkpoints = -(-steps // period)
        found.append(_evaluation(f"{run.folder}/evaluate", config, checkpoints, flops))
    return found


def _questions(config: SpecializationConfig) -> PooledQuestions | None:
    try:
        return read_questions(config.questions, run_data(config.training.data))
    except UserError as error:
        if "To get it:" not in str(error):
            raise  # not of data that are somewhere else
        console.say(f"note: sizes are those of the settings; {error}")
        return None


def _training(name: str, run: RunConfig) -> Planned:
    tokens = run.train_steps * run.batch_size * sum(run.feature_lengths.values())
    flops = 6 * models.num_params(run.model) * tokens
    return Planned(name, "training", run.train_steps, 0, tokens, flops)


def _sampling(config: SpecializationConfig, sets: PooledQuestions | None) -> Planned:
    teacher, data = config.teacher, run_data(config.training.data)
    records = () if sets is None else sets.train
    count = len(records) or config.questions.num_train or 0
    letters = 0.0
    if sets is not None:
        prompts = teacher.prompts(records[:_COUNTED], sets.pool, data)
        letters = sum(map(len, prompts)) / len(prompts)
    samples = count * teacher.sampling.num_samples
    # Samples of a question share the work on it.
    read, new = int(count * letters / _LETTERS_A_TOKEN), samples * teacher.sampling.max_tokens
    params, note = _teacher_params(config)
    return Planned("sample", "generation", samples, read, new, 2 * params * (read + new), note)


def _teacher_params(config: SpecializationConfig) -> tuple[int, str]:
    model = str(config.teacher.model)
    if config.teacher.is_remote:
        return 0, "behind a server"
    if model.startswith(TRAINED):
        run = config.trainings[model.removeprefix(TRAINED)]
        return models.num_params(run.model), ""
    if not model.startswith("asset:") and not Path(model_path(model)).exists():
        return 0, f"there is no model at {model} yet"
    return models.num_params(open_pretrained(model).config), ""


def _evaluation(name: str, config: SpecializationConfig, checkpoints: int, flops: int) -> Planned:
    evaluation = config.evaluation
    lengths = evaluation.feature_lengths or config.training.feature_lengths
    asked = checkpoints * len(evaluation.sets) * (evaluation.num_examples or 0)
    answers = asked * len(evaluation.prompts)
    in_context = sum(FORMATS[prompt].in_context for prompt in evaluation.prompts)
    read = asked * in_context * lengths["inputs"]
    new = answers * lengths["targets"]
    note = "" if evaluation.num_examples else "all questions of the sets"
    return Planned(name, "evaluation", answers, read, new, flops * (read + new), note)
