"""An optimizer's state meets gradients of the scale that it was made with."""

import dataclasses
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tlm_jax.checkpoints import manifest
from tlm_jax.checkpoints.pretrained import open_pretrained
from tlm_jax.errors import UserError
from tlm_jax.models.lora import LoraConfig
from tlm_jax.optim.optimizers import Adafactor
from tlm_jax.optim.schedules import Constant
from tlm_jax.runs.training import pretrained
from tlm_jax.runs.training.normalization import with_settled_normalization
from tlm_jax.runs.training.parts import build_parts
from tlm_jax.runs.training.session import run_training
from tlm_jax.training.objectives import CrossEntropy

FIXTURE = "fixtures/t5x/decoder_only_untied"
T5X_NATS_PER_TOKEN = [6.3002757, 5.6317145, 5.0375545]
"""T5X itself (cc342d4) at steps 4, 5 and 6 from its own checkpoint_3, with its model, loss and
Adafactor (learning rate 1e-3, min_dim_size_to_factor 16), on the recorded rows twice."""


@pytest.fixture
def t5x_run(tiny_run, shared_dir):
    path = shared_dir / FIXTURE / "ckpt_legacy" / "checkpoint_3"

    def make(**fields):
        return tiny_run(
            model=open_pretrained(path).config,
            optimizer=Adafactor(learning_rate=Constant(1e-3), min_dim_size_to_factor=16),
            initial_checkpoint_path=str(path),
            restore_optimizer=True,
            **fields,
        )

    return make


def _three_steps(run, shared_dir):
    """Returns the nats a token of three steps on the eight rows, from the restored state."""
    with np.load(shared_dir / FIXTURE / "inputs.npz") as arrays:
        rows = {k.split("/")[1]: arrays[k] for k in arrays if k.startswith("unpacked/")}
    batch = {name: jnp.concatenate([array, array]) for name, array in rows.items()}
    run = with_settled_normalization(run)
    built = build_parts(run, jax.devices()[:1])
    _, state = pretrained.initial_state(run, built.abstract_state, built.initial_state(run.seed))
    nats = []
    with jax.default_matmul_precision("highest"):
        for _ in range(3):
            state, metrics = built.train_step(state, batch)
            nats.append(float(metrics.sums["cross_ent_loss"].mean()))
    return nats


@pytest.mark.parametrize("micro_batches", [1, 2])
def test_what_t5x_began_goes_on_as_in_t5x(t5x_run, shared_dir, capsys, micro_batches):
    nats = _three_steps(t5x_run(micro_batches=micro_batches), shared_dir)
    np.testing.assert_allclose(nats, T5X_NATS_PER_TOKEN, rtol=1e-6)
    assert "set LOSS_NORMALIZING_FACTOR to what it was" in capsys.readouterr().out


def test_another_normalization_may_be_set(t5x_run, shared_dir, capsys):
    loss = CrossEntropy(normalization="NUM_REAL_TARGET_TOKENS")
    mean = _three_steps(t5x_run(loss=loss), shared_dir)
    assert mean[0] == pytest.approx(T5X_NATS_PER_TOKEN[0], rel=1e-6)
    assert mean[2] > 6.2  # what gradients 46 times too small learn
    assert capsys.readouterr().out == ""


def test_a_new_state_is_of_means(tiny_run):
    assert with_settled_normalization(tiny_run()).loss.normalization == "NUM_REAL_TARGET_TOKENS"
    given = tiny_run(loss=CrossEntropy(normalization=233472.0))
    assert with_settled_normalization(given).loss.normalization == 233472.0


def test_a_run_goes_on_with_its_own_normalization(tiny_run):
    run = tiny_run(train_steps=1, loss=CrossEntropy(normalization=None))
    run_training(run, "# configuration\n")
    found = manifest.read(Path(run.model_dir, "checkpoints", "1"))
    assert found.loss_normalization == "none"
    for same in ("AUTO", "None", None):
        again = dataclasses.replace(run, loss=CrossEntropy(normalization=same))
        assert with_settled_normalization(again).loss.normalization == "none"
    other = dataclasses.replace(run, train_steps=2, loss=CrossEntropy(normalization=100.0))
    with pytest.raises(UserError, match=r"loss divided by none and this run divides it by 100.0"):
        run_training(other, "# configuration\n")


def test_checkpoints_that_do_not_tell_were_trained_on_means(t5x_run):
    run = t5x_run()
    checkpoint = Path(run.model_dir, "checkpoints", "5")
    checkpoint.mkdir(parents=True)
    manifest.seal(checkpoint, 5, {}, score=None, checksums=False)
    assert "loss_normalization" not in json.loads((checkpoint / manifest.FILE_NAME).read_text())
    assert with_settled_normalization(run).loss.normalization == "NUM_REAL_TARGET_TOKENS"


def test_restore_optimizer_is_refused_where_it_would_do_nothing(t5x_run):
    with pytest.raises(UserError, match="parameters of their own: leave out one of the two"):
        t5x_run(lora=LoraConfig())
    with pytest.raises(UserError, match=r"there is none: set INITIAL_CHECKPOINT_PATH"):
        dataclasses.replace(t5x_run(), initial_checkpoint_path=None)
