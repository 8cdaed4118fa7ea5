"""Greedy decoding against T5X, against the uncached model, and on a mesh."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tlm_jax import models, trees
from tlm_jax.decoding.greedy import jit_greedy
from tlm_jax.sharding import rules
from tlm_jax.sharding.mesh import MeshShape, make_mesh

SIZES = {"vocab_size": 256, "embed_dim": 64, "num_heads": 4, "head_dim": 16, "mlp_dim": 128}
T5X = {
    "t5_untied": models.EncoderDecoderConfig(
        **SIZES, num_encoder_layers=2, num_decoder_layers=2, scan_layers=False
    ),
    "scalable_t5_untied": models.EncoderDecoderConfig(
        **SIZES, num_encoder_layers=2, num_decoder_layers=2, relpos_per_layer=True
    ),
    "decoder_only_untied": models.DecoderOnlyConfig(
        **SIZES,
        num_layers=2,
        scan_layers=False,
        position="relative",
        attention_scale=1.0,
        mlp_activations=("gelu", "linear"),
    ),
}
STEPS = 6
TINY = {"vocab_size": 32, "embed_dim": 16, "num_heads": 4, "head_dim": 4, "mlp_dim": 32}
ENCODER_DECODER = models.EncoderDecoderConfig(
    **TINY, num_encoder_layers=2, num_decoder_layers=2, tie_embeddings=True
)
DECODER_ONLY = models.DecoderOnlyConfig(**TINY, num_kv_heads=2, num_layers=2)


@pytest.mark.parametrize("bidirectional", [False, True], ids=["causal", "bidirectional"])
@pytest.mark.parametrize("name", T5X)
def test_reproduces_t5x(shared_dir, name, bidirectional):
    if bidirectional and not name.startswith("decoder_only"):
        pytest.skip("only decoder-only prompts can be read in either direction")
    folder = shared_dir / "fixtures" / "t5x" / name
    inputs, outputs = np.load(folder / "inputs.npz"), np.load(folder / "outputs.npz")
    params = trees.unflatten(
        {k: _joined_heads(k, v) for k, v in np.load(folder / "params.npz").items()}
    )
    config = T5X[name]
    if bidirectional:
        config = dataclasses.replace(config, prefix_lm=True)
    suffix = "_bidirectional" if bidirectional else ""
    expected = outputs[f"decode_greedy{suffix}_tokens"]
    batch = {
        name.removeprefix("decode_"): jnp.asarray(inputs[name])
        for name in inputs
        if name.startswith("decode_")
    }

    decoded = jit_greedy(config, max_decode_steps=expected.shape[1], eos_ids=(1,))(params, batch)

    prompts = np.zeros(len(expected), int)
    if "decoder_causal_attention" in batch:
        # T5X limits prompt and text together; the prompt's first token is BOS.
        prompts = np.asarray(batch["decoder_causal_attention"]).sum(axis=1) - 1
    limits = np.minimum(np.asarray(decoded.lengths), expected.shape[1] - prompts)
    within = np.arange(expected.shape[1]) < limits[:, None]
    np.testing.assert_array_equal(np.where(within, decoded.tokens, 0), expected)
    scores = np.where(within, decoded.logprobs, 0.0).sum(axis=1)
    np.testing.assert_allclose(
        scores, outputs[f"decode_greedy{suffix}_scores"], atol=1e-4, rtol=1e-5
    )


def _joined_heads(name, array):
    """T5X's scanned attention keeps heads apart: [D, L, N, H], and [N, L, H, D] on the way out."""
    if array.ndim == 4:
        heads_last = np.swapaxes(array, 1, 2) if "/out/" in name else array
        first, *_, last = array.shape
        shape = (-1, array.shape[1], last) if "/out/" in name else (first, array.shape[1], -1)
        array = heads_last.reshape(shape)
    return jnp.asarray(array)


@functools.cache
def _params(config):
    return models.init(jax.random.key(3), config)


def _decode(config, params, batch, eos_ids=()):
    return jit_greedy(config, max_decode_steps=STEPS, eos_ids=eos_ids)(params, batch)


@functools.cache
def _free_run(config):
    """Returns parameters, prompts and what is decoded when nothing ends a row."""
    params, batch = _params(config), _prompts(config)
    return params, batch, _decode(config, params, batch)


def _prompts(config, rows=8, length=7):
    rng = np.random.default_rng(0)
    tokens = rng.integers(2, 32, (rows, length), dtype=np.int32)
    lengths = np.arange(rows) % length + 1
    mask = np.arange(length) < lengths[:, None]
    if isinstance(config, models.EncoderDecoderConfig):
        return {"encoder_input_tokens": jnp.asarray(tokens * mask)}
    return {
        "decoder_input_tokens": jnp.asarray(tokens * mask),
        "decoder_causal_attention": jnp.asarray(mask.astype(np.int32)),
    }


def _teacher_forced(config, batch, tokens):
    """Returns a batch whose hidden states see prompt and tokens, and where tokens are predicted."""
    rows, steps = tokens.shape
    if isinstance(config, models.EncoderDecoderConfig):
        inputs = np.concatenate([np.zeros((rows, 1), np.int32), tokens[:, :-1]], axis=1)
        forced = {"encoder_input_tokens": batch["encoder_input_tokens"]}
        starts = np.zeros(rows, int)
    else:
        prompts = np.asarray(batch["decoder_input_tokens"])
        lengths = np.asarray(batch["decoder_causal_attention"]).sum(axis=1)
        inputs = np.zeros((rows, prompts.shape[1] + steps), np.int32)
        for row, length in enumerate(lengths):
            inputs[row, : length + steps] = [*prompts[row, :length], *tokens[row]]
        forced, starts = {}, lengths - 1
    ones = jnp.ones(inputs.shape, jnp.int32)
    forced |= {"decoder_input_tokens": jnp.asarray(inputs), "decoder_target_tokens": ones}
    return forced, starts[:, None] + np.arange(steps)


@pytest.mark.parametrize("config", [ENCODER_DECODER, DECODER_ONLY], ids=["encdec", "dec"])
def test_equals_the_arg_max_of_the_model_without_a_cache(config):
    params, batch, decoded = _free_run(config)
    forced, places = _teacher_forced(config, batch, np.asarray(decoded.tokens))
    logits = jax.jit(models.logits, static_argnames="config")(params, forced, config=config)
    logprobs = np.asarray(jax.nn.log_softmax(logits))[np.arange(8)[:, None], places]
    np.testing.assert_array_equal(decoded.tokens, logprobs.argmax(axis=-1))
    np.testing.assert_allclose(decoded.logprobs, logprobs.max(axis=-1), atol=1e-5)
    assert not decoded.finished.any()
    assert (decoded.lengths == STEPS).all()


@pytest.mark.parametrize("config", [ENCODER_DECODER, DECODER_ONLY], ids=["encdec", "dec"])
def test_rows_end_after_any_of_the_eos_ids_and_the_rest_is_zero(config):
    params, batch, free = _free_run(config)
    eos_ids = (int(free.tokens[0, 1]), int(free.tokens[5, 3]))
    decoded = _decode(config, params, batch, eos_ids)
    for row in range(8):
        text = np.asarray(free.tokens[row])
        ends = np.flatnonzero(np.isin(text, eos_ids))
        length = int(ends[0]) + 1 if ends.size else STEPS
        assert int(decoded.lengths[row]) == length
        assert bool(decoded.finished[row]) == bool(ends.size)
        np.testing.assert_array_equal(decoded.tokens[row, :length], text[:length])
        assert not np.asarray(decoded.tokens[row, length:]).any()
        assert not np.asarray(decoded.logprobs[row, length:]).any()
    assert decoded.finished.any()


@pytest.mark.parametrize("config", [ENCODER_DECODER, DECODER_ONLY], ids=["encdec", "dec"])
def test_padding_of_prompts_changes_nothing(config):
    params, batch, one = _free_run(config)
    padded = {name: jnp.pad(array, ((0, 0), (0, 9))) for name, array in batch.items()}
    other = _decode(config, params, padded)
    np.testing.assert_array_equal(one.tokens, other.tokens)
    np.testing.assert_allclose(one.logprobs, other.logprobs, atol=1e-5)


def test_stops_early_and_compiles_once_per_shape():
    config = ENCODER_DECODER
    params, batch = _params(config), _prompts(config)
    every_id = tuple(range(32))
    decode = jit_greedy(config, max_decode_steps=100_000, eos_ids=every_id)
    decoded = decode(params, batch)  # would not return within the test if all steps were run
    assert (decoded.lengths == 1).all()
    assert decoded.finished.all()
    decode(params, batch)
    assert decode._cache_size() == 1


@pytest.mark.parametrize("config", [ENCODER_DECODER, DECODER_ONLY], ids=["encdec", "dec"])
def test_eight_devices_decode_what_one_does(config):
    params, batch, alone = _free_run(config)
    mesh = make_mesh(MeshShape(2, 2, 2))
    shardings = rules.named_shardings(models.logical_axes(config), mesh, shapes=params)
    with rules.use_rules(mesh):
        decoded = _decode(
            config,
            jax.device_put(params, shardings),
            jax.device_put(batch, rules.batch_sharding(mesh)),
        )
    np.testing.assert_array_equal(decoded.tokens, alone.tokens)
    np.testing.assert_allclose(decoded.logprobs, alone.logprobs, atol=1e-5)
    np.testing.assert_array_equal(decoded.lengths, alone.lengths)
