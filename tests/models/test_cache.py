"""Rows that share a prompt, and layers that keep a part of it, go on as those that do not."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tlm_jax import models

PREFILL = jax.jit(models.prefill, static_argnames=("config", "max_decode_steps"))
STEP = jax.jit(models.decode_step, static_argnames="config")


@pytest.mark.parametrize("family", ["t5", "llama", "windows"])
def test_rows_share_a_prompt_as_if_each_had_its_own(request, noisy_params, tokens, family):
    config = request.getfixturevalue("t5" if family == "t5" else "llama")
    if family == "windows":
        flags = [index % 2 == 0 for index in range(config.num_layers)]
        config = dataclasses.replace(config, attention_window=3, windowed_layers=flags)
    params, ids = noisy_params(config), tokens(2, 6)
    name = "encoder_input_tokens" if family == "t5" else "decoder_input_tokens"
    cache, _ = PREFILL(params, {name: ids}, config=config, max_decode_steps=3)
    shared = models.repeat_rows(cache, 3)
    copied = models.select_rows(cache, jnp.repeat(jnp.arange(2), 3))
    assert shared.layers[0].prompt_key.shape[0] == 2
    for following in ([3, 4, 5, 6, 7, 8], [9, 9, 3, 3, 4, 4]):
        shared, got = STEP(params, shared, jnp.asarray(following), config=config)
        copied, expected = STEP(params, copied, jnp.asarray(following), config=config)
        np.testing.assert_allclose(got, expected, atol=1e-5)
    places = jnp.asarray([2, 2, 0, 5, 3, 3])  # within each prompt
    following = jnp.asarray([5, 6, 7, 8, 9, 10])
    _, got = STEP(params, models.permute_rows(shared, places), following, config=config)
    _, expected = STEP(params, models.select_rows(copied, places), following, config=config)
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_unrolled_layers_are_those_of_the_scan(llama, noisy_params):
    params = noisy_params(llama)
    unrolled, config = models.unroll_layers(params, llama)
    assert not config.scan_layers
    models.check_shapes(unrolled, config)
    expected = models.to_layout(params, config)
    jax.tree.map(np.testing.assert_array_equal, unrolled, expected)
    assert models.unroll_layers(unrolled, config)[0] is unrolled
