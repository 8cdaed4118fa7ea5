"""Training that T5X began goes on from the optimizer state that it saved."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tlm_jax import models
from tlm_jax.checkpoints.loading import load_params
from tlm_jax.checkpoints.optimizer_slots import load_optimizer_state
from tlm_jax.checkpoints.pretrained import open_pretrained
from tlm_jax.errors import UserError
from tlm_jax.losses.fused import cross_entropy_from_hidden
from tlm_jax.optim import optimizers
from tlm_jax.optim.schedules import Constant

FIXTURE = "decoder_only_untied"


def _adafactor(**changes):
    return optimizers.Adafactor(learning_rate=Constant(1e-3), min_dim_size_to_factor=16, **changes)


def _opened(shared_dir, step):
    return open_pretrained(
        shared_dir / "fixtures" / "t5x" / FIXTURE / "ckpt_legacy" / f"checkpoint_{step}"
    )


def _abstract(config, optimizer):
    transformation = optimizers.make_optimizer(optimizer, models.logical_axes(config))
    return transformation, jax.eval_shape(transformation.init, models.abstract_params(config))


def test_state_after_three_steps_is_what_three_steps_here_lead_to(shared_dir):
    """T5X saved steps 0 and 3; between them lie three updates on the recorded batch."""
    first, third = _opened(shared_dir, 0), _opened(shared_dir, 3)
    transformation, abstract = _abstract(first.config, _adafactor())
    params = load_params(first, first.config)
    state = load_optimizer_state(first, first.config, abstract)
    with np.load(shared_dir / "fixtures" / "t5x" / FIXTURE / "inputs.npz") as arrays:
        batch = {
            name.removeprefix("unpacked/"): jnp.asarray(array)
            for name, array in arrays.items()
            if name.startswith("unpacked/")
        }

    @jax.jit
    def step(params, state):
        def loss(params):
            hidden = models.hidden_states(params, batch, first.config)
            return cross_entropy_from_hidden(
                hidden,
                models.unembedding(params, first.config),
                batch["decoder_target_tokens"],
                batch["decoder_loss_weights"].astype(jnp.float32),
                z_loss=1e-4,
            ).loss.total

        updates, state = transformation.update(jax.grad(loss)(params), state, params)
        return jax.tree.map(lambda p, u: p + u, params, updates), state

    with jax.default_matmul_precision("highest"):
        for _ in range(3):
            params, state = step(params, state)
    saved = load_optimizer_state(third, third.config, abstract)
    for ours, theirs in zip(jax.tree.leaves(state), jax.tree.leaves(saved), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-12)
    after = load_params(third, third.config)
    for ours, theirs in zip(jax.tree.leaves(params), jax.tree.leaves(after), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_what_does_not_fit_is_said(shared_dir):
    source = _opened(shared_dir, 3)
    _, abstract = _abstract(source.config, _adafactor(beta1=0.9))
    with pytest.raises(UserError, match=r"wants '.*/m' .*trained with another optimizer"):
        load_optimizer_state(source, source.config, abstract)
    scanned = dataclasses.replace(source.config, scan_layers=True)
    _, abstract = _abstract(scanned, _adafactor())
    with pytest.raises(UserError, match=r"of separate layers; set SCAN_LAYERS=False to go on"):
        load_optimizer_state(source, scanned, abstract)
    bare = dataclasses.replace(source, optimizer={})
    _, abstract = _abstract(source.config, _adafactor())
    with pytest.raises(UserError, match=r"holds no optimizer state.*RESTORE_OPTIMIZER=False"):
        load_optimizer_state(bare, source.config, abstract)
