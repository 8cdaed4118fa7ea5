"""FLOPs by hand, and against what XLA counts."""

import dataclasses

import jax
import jax.numpy as jnp

from tlm_jax import models
from tlm_jax.models.flops import train_flops


def test_decoder_by_hand():
    config = models.DecoderOnlyConfig(
        vocab_size=10,
        embed_dim=4,
        num_heads=2,
        head_dim=3,
        mlp_dim=5,
        num_layers=2,
        num_kv_heads=1,
        position="none",
    )
    shapes = {"decoder_target_tokens": jnp.zeros((3, 7), jnp.int32)}
    # Multiply-adds a token and layer: q and out 2*4*6, k and v 2*4*3, scores 2*7*6, MLP 3*4*5.
    layer = 48 + 24 + 84 + 60
    assert train_flops(config, shapes) == 6 * 21 * (2 * layer + 4 * 10)


def test_window_and_projected_embeddings_by_hand():
    config = models.DecoderOnlyConfig(
        vocab_size=10,
        embed_dim=4,
        num_heads=2,
        head_dim=3,
        mlp_dim=5,
        num_layers=3,
        position="none",
        attention_window=5,
        windowed_layers=(True, True, False),
        word_embed_dim=2,
    )
    shapes = {"decoder_target_tokens": jnp.zeros((3, 7), jnp.int32)}
    # Multiply-adds a token and layer: q, k, v and out 4*4*6, scores 2*keys*6, MLP 3*4*5.
    windowed, full = 96 + 60 + 60, 96 + 84 + 60
    # In and out of the embeddings' width, and logits from it.
    around = 4 * 2 + 2 * 4 + 2 * 10
    assert train_flops(config, shapes) == 6 * 21 * (2 * windowed + full + around)
    # A window that no row fills changes nothing.
    short = {"decoder_target_tokens": jnp.zeros((3, 4), jnp.int32)}
    everywhere = dataclasses.replace(config, attention_window=None, windowed_layers=None)
    assert train_flops(config, short) == train_flops(everywhere, short)


def test_encoder_decoder_against_xla():
    config = models.EncoderDecoderConfig(
        vocab_size=64, embed_dim=64, num_heads=2, head_dim=32, mlp_dim=128, num_encoder_layers=2,
        num_decoder_layers=1, scan_layers=False,
    )  # fmt: skip
    batch = {
        "encoder_input_tokens": jnp.ones((2, 32), jnp.int32),
        "decoder_input_tokens": jnp.ones((2, 16), jnp.int32),
        "decoder_target_tokens": jnp.ones((2, 16), jnp.int32),
    }
    params = models.abstract_params(config)
    forward = jax.jit(lambda p, b: models.logits(p, b, config)).lower(params, batch).compile()
    counted = forward.cost_analysis()["flops"]
    # XLA also counts norms, softmax and activations: a few per cent more.
    assert 1.0 <= counted / (train_flops(config, batch) / 3) < 1.15
