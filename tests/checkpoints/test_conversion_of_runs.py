"""A run with Adafactor leaves for T5X with step and optimizer state, and goes on from there."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from tlm_jax import convert as main
from tlm_jax.checkpoints.manager import CheckpointManager
from tlm_jax.checkpoints.pretrained import open_pretrained
from tlm_jax.models.config import DecoderOnlyConfig
from tlm_jax.optim.optimizers import Adafactor, AdamW
from tlm_jax.optim.schedules import Constant
from tlm_jax.runs.training import pretrained
from tlm_jax.runs.training.config import DataConfig, RunConfig
from tlm_jax.runs.training.normalization import with_settled_normalization
from tlm_jax.runs.training.parts import build_parts
from tlm_jax.runs.training.session import run_training
from tlm_jax.training.objectives import CrossEntropy
from tlm_jax.vocabularies import ByteVocabulary

MODEL = DecoderOnlyConfig(
    vocab_size=264, embed_dim=16, num_heads=2, head_dim=8, mlp_dim=32, num_layers=2,
    position="relative", attention_scale=1.0, dropout_rate=0.0, mlp_activations=("gelu", "linear"),
)  # fmt: skip
ADAFACTOR = Adafactor(learning_rate=Constant(1e-2), min_dim_size_to_factor=16)


@pytest.fixture
def trained(tmp_path):
    def train(**fields):
        run = RunConfig(
            model_dir=str(tmp_path / "run"),
            model=MODEL,
            mixture_or_task_name="addition_direct",
            feature_lengths={"inputs": 32, "targets": 16},
            batch_size=8,
            train_steps=3,
            data=DataConfig(vocabulary=ByteVocabulary()),
            **{"optimizer": ADAFACTOR, **fields},
        )
        run_training(run, "# configuration\n")
        return run

    return train


def _next_losses(run, state, built):
    tokens = np.random.default_rng(0).integers(3, 200, (8, 24)).astype(np.int32)
    batch = {"decoder_input_tokens": tokens[:, :-1], "decoder_target_tokens": tokens[:, 1:]}
    losses = []
    for _ in range(3):
        state, metrics = built.train_step(state, batch)
        losses.append(float(metrics.sums["loss"].mean()))
    return losses


@pytest.mark.parametrize("normalization", ["AUTO", None])
def test_what_leaves_for_t5x_comes_back_as_it_was(trained, tmp_path, capsys, normalization):
    run = trained(loss=CrossEntropy(normalization=normalization))
    assert main.main([run.model_dir, str(tmp_path / "t5x"), "--to=t5x"]) == 0
    told = "None" if normalization is None else "'NUM_REAL_TARGET_TOKENS'"
    assert (
        "with Adafactor's state of step 3: go on in T5X with LOSS_NORMALIZING_FACTOR = "
        f"{told}, as it was made\n" in capsys.readouterr().out
    )
    left = tmp_path / "t5x" / "checkpoint_3"
    assert open_pretrained(left).step == 3
    # T5X's model has separate layers; the run's are stacked. The next steps are the same.
    again = with_settled_normalization(
        dataclasses.replace(
            run,
            model_dir=str(tmp_path / "again"),
            model=dataclasses.replace(MODEL, scan_layers=False),
            loss=CrossEntropy(),
            initial_checkpoint_path=str(left),
            restore_optimizer=True,
        )
    )
    built = build_parts(again, jax.devices()[:1])
    _, state = pretrained.initial_state(
        again, built.abstract_state, built.initial_state(again.seed)
    )
    assert int(state.step) == 3
    went_on = _next_losses(again, state, built)

    run = with_settled_normalization(run)
    built = build_parts(run, jax.devices()[:1])
    manager = CheckpointManager(f"{run.model_dir}/checkpoints")
    restored = manager.restore(built.abstract_state)
    manager.close()
    assert restored is not None
    expected = _next_losses(run, restored[1].state, built)
    np.testing.assert_allclose(went_on, expected, rtol=1e-5)


def test_other_optimizers_leave_without_a_state(trained, tmp_path, capsys):
    run = trained(optimizer=AdamW(learning_rate=Constant(1e-2)))
    assert main.main([run.model_dir, str(tmp_path / "t5x"), "--to=t5x"]) == 0
    assert "Adafactor" not in capsys.readouterr().out
    assert "loss_normalization" not in json.loads((tmp_path / "t5x/conversion.json").read_text())
    found = open_pretrained(tmp_path / "t5x")
    assert (found.step, dict(found.optimizer)) == (3, {})
