"""A loss of a module of the user's own, named in a gin file, is trained by as it stands."""

import dataclasses
import json
import textwrap
from pathlib import Path

import pytest

from tlm_jax.errors import UserError
from tlm_jax.runs.command_line import configuration as command_line
from tlm_jax.runs.command_line.arguments import configured_parser, parse_settings
from tlm_jax.runs.training.config import RunConfig
from tlm_jax.runs.training.live_teacher import LiveTeacher
from tlm_jax.runs.training.session import run_training

# Mean squared distance of the target's probability from 1.
MODULE = """
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from tlm_jax import models
from tlm_jax.losses.reduction import LossOutput, WeightedSum, loss_weights_and_normalizer
from tlm_jax.training.objectives import LossConfig


@dataclass(frozen=True)
class Brier(LossConfig):
    scale: float = 1.0

    def objective(self, context):
        def objective(params, batch, dropout_rng):
            weights, normalizer = loss_weights_and_normalizer(
                self.normalization, batch, batch_rows=context.batch_rows
            )
            logits = models.logits(params, batch, context.model, dropout_rng=dropout_rng)
            targets = batch["decoder_target_tokens"][..., None]
            right = jnp.take_along_axis(jax.nn.softmax(logits), targets, axis=-1)[..., 0]
            total = self.scale * jnp.sum(weights * (1 - right) ** 2)
            metrics = {"brier": WeightedSum(total, weights.sum())}
            return LossOutput(WeightedSum(total, normalizer), metrics)

        return objective
"""

GIN = """
    from __gin__ import dynamic_registration
    import losses_of_a_user
    from tlm_jax.optim import optimizers
    from tlm_jax.optim import schedules
    include 'gin_configs/runs/train.gin'
    include 'gin_configs/models/t5_1_1_tiny.gin'
    MODEL_DIR = 'somewhere'
    MIXTURE_OR_TASK_NAME = 'addition_direct'
    TASK_FEATURE_LENGTHS = {'inputs': 32, 'targets': 32}
    TRAIN_STEPS = 4
    OPTIMIZER = @optimizers.AdamW()
    optimizers.AdamW.learning_rate = @schedules.Constant()
    schedules.Constant.value = 0.01
    LOSS = @losses_of_a_user.Brier()
    losses_of_a_user.Brier:
      normalization = %LOSS_NORMALIZING_FACTOR
      scale = 10.0
"""


@pytest.fixture
def loss_of(tmp_path, monkeypatch):
    """Returns a function that returns the loss of the gin text above, with bindings."""
    (tmp_path / "losses_of_a_user.py").write_text(MODULE)
    (tmp_path / "run.gin").write_text(textwrap.dedent(GIN))
    monkeypatch.syspath_prepend(str(tmp_path))

    def load(*bindings: str):
        argv = [f"--gin_file={tmp_path / 'run.gin'}", *bindings]
        known, rest = parse_settings(configured_parser("train", ""), argv)
        return command_line.load(RunConfig, known, rest)[0].loss

    return load


def test_it_is_what_the_step_minimises(tiny_run, loss_of):
    run = tiny_run(loss=loss_of(), log_period_steps=2, train_steps=4)
    run_training(run, "")
    lines = Path(run.model_dir, "metrics.jsonl").read_text().splitlines()
    first, last = (metrics for metrics in map(json.loads, lines) if metrics["split"] == "train")
    assert first["loss"] == pytest.approx(first["brier"])
    assert 0 < last["loss"] < first["loss"] < 10


def test_its_settings_are_checked_as_any(loss_of):
    assert loss_of("LOSS_NORMALIZING_FACTOR=100.0").normalization == 100.0
    with pytest.raises(UserError, match=r"RunConfig\.loss\.scale is 'a' \(str\), expected float"):
        loss_of("--gin.losses_of_a_user.Brier.scale='a'")
    with pytest.raises(UserError, match=r"RunConfig\.loss is 3 \(int\), expected .*CrossEntropy"):
        loss_of("LOSS=3")


def test_a_teacher_is_for_losses_that_learn_from_one(tiny_run, loss_of):
    run = dataclasses.replace(tiny_run(loss=loss_of()), teacher=LiveTeacher("somewhere"))
    with pytest.raises(UserError, match="distillation needs both a teacher and its objective"):
        run_training(run, "")
