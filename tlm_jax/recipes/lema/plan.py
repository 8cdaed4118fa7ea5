"""The stages that a run of LEMA comes to, with their sizes."""

from __future__ import annotations

from tlm_jax import models
from tlm_jax.checkpoints.pretrained import open_pretrained
from tlm_jax.errors import UserError
from tlm_jax.recipes.asking import is_remote, model_path
from tlm_jax.recipes.lema.config import START, LemaConfig
from tlm_jax.recipes.lema.correctors import Model
from tlm_jax.recipes.lema.speaking import Speaking
from tlm_jax.recipes.question_sets import QuestionSets, read_question_sets
from tlm_jax.recipes.recipe import Planned
from tlm_jax.runs.training import console
from tlm_jax.runs.training.student_vocabulary import run_data

_LETTERS_A_TOKEN = 4
"""Of English text."""
_PROMPT_TOKENS = 1500
"""Of a corrector's: the published demonstrations and the question."""


def planned_stages(config: LemaConfig) -> list[Planned]:
    """Returns the stages in their order, each at its most.

    Where data or models are not at hand a note says so, and sizes are those of the settings.

    Raises:
      UserError: the configuration cannot work.
    """
    sets = _questions(config)
    flops = 2 * models.num_params(config.training.model)
    found = [Planned("questions", "other")]
    paths, evolve = config.paths, config.evolution
    count = len(sets.train) if sets is not None else config.questions.num_train or 0
    mean = 0 if sets is None else sum(len(r.question) for r in sets.train) // max(count, 1)
    found += _mistakes("", config, list(paths.models.items()), count, mean)
    if evolve is not None:
        speaking, seeds = evolve.speaking, evolve.num_seeds
        if evolve.model is not None:
            found.append(_sampling("evolve/write", config, evolve.model, speaking, seeds, mean))
        found.append(_sampling("evolve/answer", config, evolve.solver, evolve.solving, seeds, mean))
        found.append(Planned("evolve/questions", "other", note="at most one a seed"))
        found += _mistakes("evolve/", config, list(paths.models.items()), seeds, mean)
    found += _measured("start", config, flops)
    found += _arms("", config, flops)
    if evolve is not None and evolve.rounds > 1:
        tuned = [(f"seed-{seed}", START) for seed in config.seeds]
        found += _mistakes("round-2/", config, tuned, evolve.num_seeds, mean)
        found += _arms("round-2/", config, flops)
    return found


def _questions(config: LemaConfig) -> QuestionSets | None:
    try:
        return read_question_sets(config.questions, run_data(config.training.data))
    except UserError as error:
        if "no such file" not in str(error) and "no data directory" not in str(error):
            raise
        console.say(f"note: sizes are those of the settings; {error}")
        return None


def _mistakes(
    folder: str, config: LemaConfig, path_models: list[tuple[str, str]], count: int, mean: int
) -> list[Planned]:
    speaking = config.paths.speaking
    found = [
        _sampling(f"{folder}ask/{name}", config, model, speaking, count, mean)
        for name, model in path_models
    ]
    found.append(Planned(f"{folder}paths", "other"))
    wrong = count * speaking.sampling.num_samples * max(len(path_models), 1)
    wrong = config.paths.total or wrong
    corrector = config.corrector
    if isinstance(corrector, Model):
        letters = _PROMPT_TOKENS * _LETTERS_A_TOKEN
        one = _sampling(
            f"{folder}correct", config, corrector.model, corrector.speaking, wrong, letters
        )
        found.append(one)
    else:
        found.append(Planned(f"{folder}correct", "generation", note="nobody is asked"))
    return [*found, Planned(f"{folder}corrections", "other")]


def _sampling(
    name: str, config: LemaConfig, model: str, speaking: Speaking, count: int, letters: int
) -> Planned:
    params, note = _params(config, model)
    samples = count * speaking.sampling.num_samples
    read, new = count * letters // _LETTERS_A_TOKEN, samples * speaking.sampling.max_tokens
    return Planned(name, "generation", samples, read, new, 2 * params * (read + new), note)


def _params(config: LemaConfig, model: str) -> tuple[int, str]:
    if model == START:
        return models.num_params(config.training.model), ""
    if is_remote(model):
        return 0, "behind a server"
    if not model.startswith("asset:") and not model_path(model).exists():
        return 0, f"there is no model at {model} yet"
    return models.num_params(open_pretrained(model).config), ""


def _arms(folder: str, config: LemaConfig, flops: int) -> list[Planned]:
    found = []
    training = config.training
    tokens = training.train_steps * training.batch_size * sum(training.feature_lengths.values())
    for seed in config.seeds:
        for arm in config.arms:
            where = f"{folder}seed-{seed}/{arm}"
            found.append(Planned(f"{where}/rows", "other"))
            steps, work = training.train_steps, 3 * flops * tokens
            found.append(Planned(f"{where}/train", "training", steps, 0, tokens, work))
            found += _measured(where, config, flops)
    return found


def _measured(where: str, config: LemaConfig, flops: int) -> list[Planned]:
    evaluation = config.evaluation
    lengths = evaluation.feature_lengths or config.training.feature_lengths
    questions = len(evaluation.tasks) * (evaluation.num_examples or 0)
    answers = questions * (1 + evaluation.num_samples)
    read, new = questions * lengths["inputs"], answers * lengths["targets"]
    note = "" if evaluation.num_examples else "all questions of the tasks"
    work = flops * (read + new)
    found = [Planned(f"{where}/evaluate", "evaluation", answers, read, new, work, note)]
    if config.num_compared:
        scored = 2 * config.num_compared
        found.append(Planned(f"{where}/compare", "evaluation", scored))
    return found
