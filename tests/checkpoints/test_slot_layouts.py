"""Adafactor's slots leave a run as T5X has them, and what T5X has goes on here."""

import dataclasses
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tlm_jax import models, trees
from tlm_jax.checkpoints.formats.t5x import open_t5x
from tlm_jax.checkpoints.optimizer_slots import load_optimizer_state
from tlm_jax.checkpoints.pretrained import Pretrained, open_pretrained
from tlm_jax.checkpoints.slot_layouts import PREFIX, joined_heads, t5x_slots
from tlm_jax.checkpoints.structure import named_leaves
from tlm_jax.lazy import in_memory
from tlm_jax.models import layouts
from tlm_jax.models.config import EncoderDecoderConfig
from tlm_jax.optim import optimizers
from tlm_jax.optim.schedules import Constant

STACKED = EncoderDecoderConfig(
    vocab_size=40, embed_dim=16, num_heads=2, head_dim=9, mlp_dim=24, num_encoder_layers=2,
    num_decoder_layers=3, dropout_rate=0.0,
)  # fmt: skip
SEPARATE = dataclasses.replace(STACKED, scan_layers=False)
SCALABLE = dataclasses.replace(STACKED, relpos_per_layer=True)


def _trained_slots(config, least, random_arrays, beta1=None):
    """The slots after two updates with the same gradients, whatever the layout."""
    optimizer = optimizers.make_optimizer(
        optimizers.Adafactor(Constant(1e-2), min_dim_size_to_factor=least, beta1=beta1),
        models.logical_axes(config),
    )

    def tree(seed):
        arrays = layouts.arrange(random_arrays(SEPARATE, seed=seed), config)
        return trees.unflatten({name: jnp.asarray(array.read()) for name, array in arrays.items()})

    params = tree(0)
    state = optimizer.init(params)
    for seed in (1, 2):
        _, state = optimizer.update(tree(seed), state, params)
    return {
        PREFIX + path.partition("slots/")[2]: in_memory(np.asarray(leaf))
        for path, leaf in named_leaves(state).items()
        if "slots/" in path
    }


def _real(slots):
    """What an Adafactor reads of T5X's slots: no placeholders."""
    return {name: slot.read() for name, slot in slots.items() if slot.shape != (1,)}


@pytest.mark.parametrize("beta1", [None, 0.9])
def test_stacked_layers_become_separate_ones(random_arrays, beta1):
    """The same updates in T5X's layout lead to the same slots."""
    slots = _trained_slots(STACKED, 16, random_arrays, beta1)
    expected = _real(_trained_slots(SEPARATE, 16, random_arrays, beta1))
    found = _real(t5x_slots(slots, STACKED, SEPARATE))
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=1e-5, err_msg=name)


def test_a_moment_that_t5x_keeps_whole_is_the_product_of_its_means(random_arrays):
    slots = _trained_slots(STACKED, 128, random_arrays)
    name = "decoder/layers_2/mlp/wo/kernel"
    whole = _real(t5x_slots(slots, STACKED, SEPARATE))[f"{PREFIX}{name}/v"]
    stacked = f"{PREFIX}decoder/decoder/mlp/wo/kernel"
    row, column = slots[f"{stacked}/v_row"].read()[2], slots[f"{stacked}/v_col"].read()[:, 2]
    np.testing.assert_allclose(whole, column[:, None] * row / row.mean(), rtol=1e-5)


def test_scalable_t5_has_split_heads_and_a_bias_a_layer(random_arrays, shared_dir):
    slots = _trained_slots(SCALABLE, 16, random_arrays)
    written = t5x_slots(slots, SCALABLE, SCALABLE)
    theirs = open_t5x(shared_dir / "fixtures/t5x/scalable_t5_untied/ckpt_legacy").state
    assert written.keys() == theirs.keys()
    kernel = f"{PREFIX}decoder/decoder/self_attention/out/kernel"
    assert written[f"{kernel}/v_col"].shape == (2, 3, 9)  # [N, L, H]
    assert written[f"{kernel}/v_row"].shape == (3, 16)
    assert {k: len(x.shape) for k, x in written.items()} == {
        k: len(x.shape) for k, x in theirs.items()
    }
    back = _real(joined_heads(written))
    assert back.keys() == slots.keys()
    for name, slot in slots.items():
        np.testing.assert_array_equal(back[name], slot.read(), err_msg=name)


def test_the_state_of_scalable_t5_goes_on_here(random_arrays):
    slots = _trained_slots(SCALABLE, 16, random_arrays)
    source = Pretrained(
        Path("there"),
        "t5x",
        SCALABLE,
        {},
        (),
        step=2,
        optimizer=t5x_slots(slots, SCALABLE, SCALABLE),
    )
    optimizer = optimizers.make_optimizer(
        optimizers.Adafactor(Constant(1e-2), min_dim_size_to_factor=16),
        models.logical_axes(SCALABLE),
    )
    abstract = jax.eval_shape(optimizer.init, models.abstract_params(SCALABLE))
    state = named_leaves(load_optimizer_state(source, SCALABLE, abstract))
    for name, slot in slots.items():
        np.testing.assert_array_equal(state["0/slots/" + name.removeprefix(PREFIX)], slot.read())


def test_what_a_conversion_says_of_the_loss_is_read_again(tmp_path, shared_dir):
    source = shared_dir / "fixtures/t5x/decoder_only_untied/ckpt_legacy/checkpoint_3"
    assert open_pretrained(source).loss_normalization is None
    (tmp_path / "checkpoint_3").symlink_to(source)
    report = tmp_path / "conversion.json"
    report.write_text(json.dumps({"loss_normalization": "NUM_REAL_TARGET_TOKENS"}))
    for path in (tmp_path, tmp_path / "checkpoint_3"):
        assert open_pretrained(path).loss_normalization == "NUM_REAL_TARGET_TOKENS"
