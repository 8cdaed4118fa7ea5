"""Dropout, remat, mixed precision, initial values, and compile size of the models."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tlm_jax import models, trees
from tlm_jax.models.attention import Attention


def _batch(tokens, rows=2):
    return {
        "encoder_input_tokens": tokens(rows, 7),
        "decoder_input_tokens": tokens(rows, 6, seed=1),
        "decoder_target_tokens": tokens(rows, 6, seed=2),
    }


STATES = jax.jit(models.hidden_states, static_argnames="config")
GRADIENT = jax.jit(lambda *args: jax.grad(_loss)(*args), static_argnums=2)


def _loss(params, batch, config, dropout_rng=None):
    hidden = models.hidden_states(params, batch, config, dropout_rng=dropout_rng)
    return jnp.sum(hidden * jnp.sin(jnp.arange(hidden.size)).reshape(hidden.shape))


def test_without_a_key_nothing_is_dropped(t5, noisy_params, tokens, logits):
    params, batch = noisy_params(t5), _batch(tokens)
    dropping = dataclasses.replace(t5, dropout_rate=0.5)
    np.testing.assert_array_equal(
        logits(params, batch, config=dropping), logits(params, batch, config=t5)
    )


def test_dropout_follows_its_key(t5, noisy_params, tokens):
    params, batch = noisy_params(t5), _batch(tokens)
    config = dataclasses.replace(t5, dropout_rate=0.3)
    first, again, other = (
        STATES(params, batch, config=config, dropout_rng=jax.random.key(seed)) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-2
    plain = STATES(params, batch, config=config)
    assert np.abs(first - plain).max() > 1e-2


def test_last_hidden_states_are_dropped_at_the_rate_with_the_right_sharing(
    t5, noisy_params, tokens
):
    config = dataclasses.replace(t5, dropout_rate=0.25)
    params, batch = noisy_params(config), _batch(tokens, rows=64)
    hidden = STATES(params, batch, config=config, dropout_rng=jax.random.key(0))
    dropped = np.asarray(hidden) == 0
    # One draw for all positions of a row: 64 · 32 draws of rate 0.25, standard deviation 0.0096.
    assert (dropped == dropped[:, :1]).all()
    assert abs(dropped.mean() - 0.25) < 0.04


@pytest.mark.parametrize(
    ("policy", "scan", "family"),
    [
        ("minimal", True, "llama"),
        ("dots_saveable", True, "llama"),
        ("full", True, "llama"),
        ("minimal", False, "llama"),
        ("full", True, "gemma3"),
        ("full", False, "gemma3"),
    ],
)
def test_remat_changes_no_gradient(kind, noisy_params, tokens, policy, scan, family):
    config = dataclasses.replace(kind(family), scan_layers=scan, dropout_rate=0.1)
    params, batch, key = noisy_params(config), _batch(tokens), jax.random.key(3)
    expected = GRADIENT(params, batch, config, key)
    got = GRADIENT(params, batch, dataclasses.replace(config, remat_policy=policy), key)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-4), got, expected)


def test_remat_saves_memory(llama, tokens):
    config = dataclasses.replace(llama, num_layers=8, mlp_dim=256)
    batch = _batch(tokens, rows=32)

    def temporary_bytes(policy):
        changed = dataclasses.replace(config, remat_policy=policy)
        compiled = GRADIENT.lower(models.abstract_params(config), batch, changed).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    none, minimal, full = (temporary_bytes(policy) for policy in ("none", "minimal", "full"))
    assert full < minimal < 0.8 * none


@pytest.mark.parametrize("family", ["t5", "llama", "gemma3"])
def test_program_does_not_grow_with_depth(family, kind, tokens):
    config = kind(family)

    def size(layers):
        names = [field.name for field in dataclasses.fields(config) if "layers" in field.name]
        depth = {name: layers for name in names if name.startswith("num_")}
        if family == "gemma3":
            depth["windowed_layers"] = tuple(index % 2 == 0 for index in range(layers))
        deep = dataclasses.replace(config, **depth)
        lowered = GRADIENT.lower(models.abstract_params(deep), _batch(tokens), deep)
        return len(lowered.as_text().splitlines())

    assert size(40) == size(4)


def test_bfloat16_computes_in_bfloat16_and_gives_float32_logits(llama, tokens, logits):
    config = dataclasses.replace(llama, dtype="bfloat16")
    params, batch = models.init(jax.random.key(0), llama), _batch(tokens)
    assert STATES(params, batch, config=config).dtype == jnp.bfloat16
    half, full = logits(params, batch, config=config), logits(params, batch, config=llama)
    assert half.dtype == jnp.float32
    # Eight bits of mantissa, over some twenty roundings in a row.
    assert 1e-4 < np.std(half - full) / np.std(full) < 2e-2
    prompt = {"decoder_input_tokens": batch["decoder_input_tokens"]}
    cache, _ = jax.eval_shape(lambda: models.prefill(params, prompt, config, max_decode_steps=1))
    assert cache.layers[0].key.dtype == jnp.bfloat16


def test_initial_parameters_have_t5xs_spread(t5):
    config = dataclasses.replace(
        t5, embed_dim=128, mlp_dim=256, num_heads=8, head_dim=16, num_decoder_layers=4
    )
    params = trees.flatten(models.init(jax.random.key(0), config))
    assert {leaf.dtype for leaf in params.values()} == {jnp.dtype("float32")}
    expected = {
        "token_embedder/embedding": 1.0,
        "decoder/decoder/self_attention/query/kernel": (128 * 16) ** -0.5,
        "decoder/decoder/self_attention/key/kernel": 128**-0.5,
        "decoder/decoder/self_attention/out/kernel": 128**-0.5,
        "decoder/decoder/mlp/wi_0/kernel": 128**-0.5,
        "decoder/decoder/mlp/wo/kernel": 256**-0.5,
        "decoder/logits_dense/kernel": 128**-0.5,
        "decoder/relpos_bias/rel_embedding": (2 / (8 + 32)) ** 0.5,
    }
    for name, deviation in expected.items():
        np.testing.assert_allclose(np.std(params[name]), deviation, rtol=0.1, err_msg=name)
    assert (params["decoder/decoder/pre_mlp_layer_norm/scale"] == 1).all()
    layers = params["decoder/decoder/mlp/wo/kernel"]
    assert np.abs(layers[:, 0] - layers[:, 1]).max() > 0.01


def test_norms_start_by_multiplying_by_one(kind):
    config = kind("gemma3")
    params = trees.flatten(models.init(jax.random.key(0), config))
    scales = [leaf for name, leaf in params.items() if name.endswith("scale")]
    assert len(scales) == 7  # around attention and MLP, of queries and keys, and the last
    assert all((scale == 0).all() for scale in scales)


def test_attention_dropout_is_one_draw_for_all_queries(t5):
    spec = dataclasses.replace(t5, dropout_rate=0.5).attention_spec()
    module = Attention(spec, t5.embed_dim, deterministic=False)
    # Values are one-hot of the key, so that outputs before projection show the weights.
    S, H = 8, spec.head_dim
    query = jnp.zeros((1, 3, spec.num_heads, H))
    keys = jnp.zeros((1, spec.num_heads, S, H))
    values = jnp.broadcast_to(jnp.eye(S, H), keys.shape)
    identity = {"params": {"out": {"kernel": jnp.eye(spec.num_heads * H)}}}
    mask = jnp.ones((1, 3, S), bool)
    rngs = {"dropout": jax.random.key(1)}
    out, _ = module.apply(identity, query, (keys,), (values,), mask, rngs=rngs)
    weights = np.asarray(out).reshape(3, spec.num_heads, S)
    assert set(np.unique(weights)) == {0.0, 2 / S}
    assert (weights == weights[:1]).all()
