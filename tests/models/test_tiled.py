"""Kernels in tiles multiply as they do in one piece."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tlm_jax import models
from tlm_jax.models.tiled import TiledKernel, tiled

STEP = jax.jit(models.decode_step, static_argnames="config")


@pytest.mark.parametrize("columns", [1, 64, 100, 129])
def test_a_product_with_tiles_is_the_product(columns):
    random = np.random.default_rng(columns)
    kernel = random.standard_normal((5, columns)).astype(np.float32)
    rows = random.standard_normal((3, 5)).astype(np.float32)
    got = tiled(jnp.asarray(kernel)).product(jnp.asarray(rows))
    np.testing.assert_allclose(got, rows @ kernel, atol=1e-5)


@pytest.mark.parametrize("family", ["t5", "llama"])
def test_steps_with_tiles_give_the_same_logits(request, noisy_params, tokens, family):
    config = request.getfixturevalue(family)
    params, config = models.unroll_layers(noisy_params(config), config)
    name = "encoder_input_tokens" if family == "t5" else "decoder_input_tokens"
    cache, _ = models.prefill(params, {name: tokens(2, 6)}, config, max_decode_steps=1)
    following = jnp.asarray([3, 4])
    in_tiles = models.tile_kernels(params, config)
    layer = in_tiles["decoder"]["layers_0"]
    assert isinstance(layer["mlp"]["wo"]["kernel"], TiledKernel)
    if family == "t5":  # made once a prompt, not in steps
        attention = layer["encoder_decoder_attention"]
        assert (
            attention["key"]["kernel"]
            is (params["decoder"]["layers_0"]["encoder_decoder_attention"]["key"]["kernel"])
        )
    _, expected = STEP(params, cache, following, config=config)
    _, got = STEP(in_tiles, cache, following, config=config)
    np.testing.assert_allclose(got, expected, atol=1e-5)
