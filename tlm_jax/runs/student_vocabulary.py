"""The vocabulary of a run's model: the one that is named, else that of its task."""

from __future__ import annotations

from tlm_jax.data import demonstrations, location, tasks
from tlm_jax.data.store import task_vocabulary
from tlm_jax.data.vocabularies import Vocabulary, vocabulary_from_name
from tlm_jax.runs.config import DataConfig, RunConfig


def prepare_tasks(data: DataConfig) -> None:
    """Registers the tasks, and sets where their data and demonstrations come from."""
    if data.data_dir is not None:
        location.set_data_dir(data.data_dir)
    if data.examples_file is not None:
        location.set_examples_file(data.examples_file)
    demonstrations.set_demonstrations(data.demonstrations)
    tasks.load_tasks(data.modules)


def named_vocabulary(data: DataConfig) -> Vocabulary | None:
    """Returns the vocabulary that replaces the tasks' own, if one is named."""
    named = data.vocabulary
    return vocabulary_from_name(named) if isinstance(named, str) else named


def student_vocabulary(run: RunConfig) -> Vocabulary:
    """Returns the vocabulary in which a run's examples become tokens.

    Raises:
      UserError: no such task.
    """
    named = named_vocabulary(run.data)
    if named is not None:
        return named
    prepare_tasks(run.data)
    return task_vocabulary(run.mixture_or_task_name)
