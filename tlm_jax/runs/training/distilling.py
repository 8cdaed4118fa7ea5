"""Parts of a training run that it has because of a teacher."""

from __future__ import annotations

from typing import Any

from tlm_jax.data.pipeline.pipeline import Pipeline
from tlm_jax.runs.training import console
from tlm_jax.runs.training.config import RunConfig
from tlm_jax.runs.training.parts import FrozenParams, Parts
from tlm_jax.training.on_policy import OnPolicySampler
from tlm_jax.vocabularies import Vocabulary


def load_frozen(parts: Parts, frozen: Any) -> Any:
    """Returns what the step takes beside state and batch, as `Parts.abstract_frozen` describes."""
    if parts.teacher is None:
        return frozen
    return FrozenParams(frozen, parts.teacher.load(parts.mesh))


def on_policy_sampler(
    run: RunConfig, parts: Parts, vocabulary: Vocabulary
) -> OnPolicySampler | None:
    """Returns what replaces the batches of on-policy steps, if there are such steps."""
    if run.on_policy is None:
        return None

    def student(frozen: Any, trained: Any) -> Any:
        return parts.trainable.whole(frozen, trained)

    eos_ids = (vocabulary.eos_id,)
    return OnPolicySampler(run.model, run.on_policy, eos_ids, student, parts.mesh)


def print_joined(pipeline: Pipeline, sampler: OnPolicySampler | None) -> None:
    """Says how many rows were joined and how many steps were on-policy."""
    if pipeline.teacher is not None:
        for line in pipeline.teacher.counts.lines():
            console.say(line)
        lost = sum(pipeline.teacher.cache.damaged.values())
        if lost:
            console.say(f"note: {lost:,} damaged rows of the cache were left out")
    if sampler is not None:
        console.say(f"{sampler.steps:,} steps trained on the student's own samples")
