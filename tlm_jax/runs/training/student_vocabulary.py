"""The vocabulary of a run's model: the one that is named, else that of its task."""

from __future__ import annotations

from tlm_jax.data import tasks
from tlm_jax.data.pipeline.store import task_vocabulary
from tlm_jax.data.run_data import RunData
from tlm_jax.runs.training.config import DataConfig, RunConfig
from tlm_jax.vocabularies import Vocabulary, vocabulary_from_name


def run_data(data: DataConfig) -> RunData:
    """Registers the tasks, and returns where a run's data and demonstrations come from."""
    tasks.load_tasks(data.modules)
    return RunData(data.data_dir, data.examples_file, data.demonstrations)


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
    tasks.load_tasks(run.data.modules)
    return task_vocabulary(run.mixture_or_task_name)
