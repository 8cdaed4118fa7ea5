"""A model split over data × fsdp × tensor gives the numbers of one device."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tlm_jax import models
from tlm_jax.sharding import rules
from tlm_jax.sharding.mesh import MeshShape, make_mesh


def _gradients(config):
    def loss(params, batch):
        logits = models.logits(params, batch, config)
        logprobs = jax.nn.log_softmax(logits)
        return -jnp.take_along_axis(logprobs, batch["decoder_target_tokens"][..., None], 2).mean()

    return jax.value_and_grad(loss)


@pytest.mark.parametrize(
    ("family", "shape"),
    [
        ("t5", MeshShape(2, 2, 2)),
        ("llama", MeshShape(2, 2, 2)),
        ("llama", MeshShape(1, 8, 1)),
        ("llama", MeshShape(1, 1, 8)),
        ("opt_350m", MeshShape(2, 2, 2)),
        ("gemma3", MeshShape(2, 2, 2)),
    ],
)
def test_loss_and_gradients_equal_those_of_one_device(family, shape, kind, noisy_params, tokens):
    config = kind(family)
    params = noisy_params(config)
    batch = {
        "encoder_input_tokens": tokens(8, 7),
        "decoder_input_tokens": tokens(8, 6, seed=1),
        "decoder_target_tokens": tokens(8, 6, seed=2),
    }
    loss, expected = jax.jit(_gradients(config))(params, batch)
    mesh = make_mesh(shape)
    shardings = rules.named_shardings(models.logical_axes(config), mesh, shapes=params)
    split = jax.device_put(params, shardings)
    rows = jax.device_put(batch, rules.batch_sharding(mesh))
    with rules.use_rules(mesh):
        step = jax.jit(_gradients(config), out_shardings=(None, shardings))
        program = step.lower(split, rows).compile()
    got_loss, got = program(split, rows)
    if shape.data * shape.fsdp > 1:  # No device ever holds the activations of all rows.
        assert f"f32[8,6,{config.embed_dim}]" not in program.as_text()
    np.testing.assert_allclose(got_loss, loss, rtol=1e-5)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=2e-5), got, expected)
    if shape == MeshShape(2, 2, 2):
        kernel = split["decoder"]["decoder"]["mlp"]["wo"]["kernel"]
        assert {shard.data.shape for shard in kernel.addressable_shards} == {
            (kernel.shape[0] // 2, kernel.shape[1], kernel.shape[2] // 2)
        }


@pytest.mark.parametrize("family", ["llama", "gemma3"])
def test_cached_decoding_on_a_mesh(family, kind, noisy_params, tokens):
    config = kind(family)
    params, ids = noisy_params(config), tokens(8, 5)
    prompt = {"decoder_input_tokens": ids[:, :4]}
    mesh = make_mesh(MeshShape(2, 2, 2))
    shardings = rules.named_shardings(models.logical_axes(config), mesh, shapes=params)

    def decode(params, prompt, following):
        cache, first = models.prefill(params, prompt, config, max_decode_steps=1)
        return first, models.decode_step(params, cache, following, config)[1]

    expected = jax.jit(decode)(params, prompt, ids[:, 4])
    rows = jax.device_put((prompt, ids[:, 4]), rules.batch_sharding(mesh))
    with rules.use_rules(mesh):
        got = jax.jit(decode)(jax.device_put(params, shardings), *rows)
    for x, y in zip(got, expected):
        np.testing.assert_allclose(x, y, atol=1e-5)
