"""Opens a run's training data and evaluation sets, and checks that they fit the model."""

from __future__ import annotations

import jax
import numpy as np

from tlm_jax.data.pipeline.pipeline import Pipeline, PipelineConfig
from tlm_jax.data.reading import Reading
from tlm_jax.data.run_data import RunData
from tlm_jax.evaluation.eval_set import EvalSet, load_eval_sets
from tlm_jax.runs.training import console
from tlm_jax.runs.training.config import RunConfig
from tlm_jax.runs.training.run_teacher import RunTeacher
from tlm_jax.runs.training.student_vocabulary import named_vocabulary, run_data
from tlm_jax.training.batches import HostRows
from tlm_jax.vocabularies import check_vocabulary_fits


def open_pipeline(
    run: RunConfig,
    rows: HostRows,
    teacher: RunTeacher | None = None,
    data: RunData | None = None,
    reading: Reading | None = None,
) -> Pipeline:
    """Opens the training data at its beginning.

    Args:
      run: the configuration.
      rows: this host's.
      teacher: the run's, opened.
      data: the run's, with what has been read of it; None: made of the configuration.
      reading: how the model reads; None: as the tasks say.

    Raises:
      UserError: unknown task, absent file, missing feature length, or a vocabulary larger than the
        model's embedding.
    """
    config = PipelineConfig(
        mixture_or_task_name=run.mixture_or_task_name,
        feature_lengths=run.feature_lengths,
        batch_size=run.batch_size,
        split=run.data.split,
        architecture=run.model.architecture,
        vocabulary=named_vocabulary(run.data),
        seed=run.seed,
        pack=run.data.pack,
        # Samples have segment ids, and batches of one form need one compiled step.
        mark_padding=run.on_policy is not None,
        teacher=teacher.join if teacher is not None else None,
        teacher_tokens=teacher.tokens if teacher is not None else None,
        data=data or run_data(run.data),
        reading=reading,
    )
    pipeline = Pipeline(
        config,
        host_index=rows.index,
        num_hosts=rows.count,
        all_gather=_all_gather(rows),
        prefetch_batches=run.data.prefetch_batches,
    )
    check_vocabulary_fits(pipeline.vocabulary, run.model.vocab_size)
    if pipeline.teacher is not None:
        pipeline.teacher.say = console.say
    return pipeline


def open_eval_sets(
    run: RunConfig, data: RunData | None = None, reading: Reading | None = None
) -> list[EvalSet]:
    """Opens the held-out tasks of the configuration, as `open_pipeline` the training data.

    They are the same on every host.
    """
    data = data or run_data(run.data)
    found = [
        eval_set
        for name in run.evaluation.tasks
        for eval_set in load_eval_sets(
            name,
            run.evaluation.split,
            feature_lengths=run.feature_lengths,
            num_examples=run.evaluation.num_examples,
            examples_seed=run.evaluation.examples_seed,
            vocabulary=named_vocabulary(run.data),
            data=data,
            reading=reading,
        )
    ]
    for eval_set in found:
        check_vocabulary_fits(eval_set.vocabulary, run.model.vocab_size)
    return found


def _all_gather(rows: HostRows):
    """Returns how packing positions are collected: one from each block of rows."""

    def gather(places: np.ndarray) -> np.ndarray:
        from jax.experimental import multihost_utils

        everywhere = multihost_utils.process_allgather((np.array(rows.index), places))
        indices, gathered = (np.asarray(part) for part in everywhere)
        _, first = np.unique(indices, return_index=True)  # hosts may hold replicas of a block
        return gathered[first]

    return gather if jax.process_count() > 1 else None
