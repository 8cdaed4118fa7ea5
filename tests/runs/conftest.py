"""A tiny real run: byte vocabulary, one layer a stack, embedded addition."""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_models import encoder_decoder

from tlm_jax.checkpoints.keep import KeepPolicy
from tlm_jax.optim.optimizers import AdamW
from tlm_jax.optim.schedules import Constant
from tlm_jax.runs.training.config import CheckpointConfig, DataConfig, RunConfig
from tlm_jax.sharding.mesh import MeshShape
from tlm_jax.vocabularies import ByteVocabulary

TINY = encoder_decoder(264, dropout_rate=0.1)


@pytest.fixture
def tiny_run(tmp_path: Path) -> Callable[..., RunConfig]:
    """Returns a function that makes a run's configuration; keywords replace fields of it."""
    return functools.partial(_tiny_run, tmp_path)


@pytest.fixture(scope="module")
def tiny_module_run(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., RunConfig]:
    """As `tiny_run`, for runs that the tests of a module share."""
    return functools.partial(_tiny_run, tmp_path_factory.mktemp("runs"))


def _tiny_run(directory: Path, name: str = "run", **fields) -> RunConfig:
    run = RunConfig(
        model_dir=str(directory / name),
        model=TINY,
        mixture_or_task_name="addition_direct",
        feature_lengths={"inputs": 32, "targets": 32},
        batch_size=8,
        train_steps=6,
        optimizer=AdamW(learning_rate=Constant(0.01)),
        mesh=MeshShape(),
        data=DataConfig(vocabulary=ByteVocabulary()),
        checkpoints=CheckpointConfig(period_steps=100, keep=KeepPolicy(last=None)),
        log_period_steps=4,
    )
    return dataclasses.replace(run, **fields)
