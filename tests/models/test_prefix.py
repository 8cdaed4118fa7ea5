"""Rows behind a prefix that is worked on once have the numbers of rows that hold all tokens."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tlm_jax import models
from tlm_jax.models import cached
from tlm_jax.sharding import rules
from tlm_jax.sharding.mesh import MeshShape, make_mesh

SHARED, PADDING = 7, 2
LENGTHS = (5, 1, 4, 2)
STEPS = 3


def _rows(tokens):
    """Returns the shared tokens [1, 7], and rows of 5, 1, 4 and 2 further ones, padded with 0."""
    own = tokens(len(LENGTHS), max(LENGTHS), seed=1)
    mask = jnp.arange(max(LENGTHS))[None] < jnp.asarray(LENGTHS)[:, None]
    return tokens(1, SHARED), own * mask, mask.astype(jnp.int32)


def _prefix(params, shared, config):
    padded = jnp.pad(shared, ((0, 0), (0, PADDING)))
    mask = jnp.arange(padded.shape[1])[None] < shared.shape[1]
    return models.read_prefix(params, padded, mask, config)


def _decoded(params, shared, own, mask, following, config, *, apart):
    """Returns the logits after each row, and after each of three further tokens."""
    prefix = None
    if apart:
        prefix = _prefix(params, shared, config)
    else:
        together = jnp.broadcast_to(shared, (len(own), SHARED))
        own = jnp.concatenate([together, own], axis=1)
        mask = jnp.concatenate([jnp.ones_like(together), mask], axis=1)
    batch = {"decoder_input_tokens": own, "decoder_causal_attention": mask}
    cache, logits = models.prefill(params, batch, config, max_decode_steps=STEPS, prefix=prefix)
    found = [logits]
    for step in range(STEPS):
        cache, logits = models.decode_step(params, cache, following[:, step], config, prefix=prefix)
        found.append(logits)
    return jnp.stack(found)


DECODED = jax.jit(_decoded, static_argnames=("config", "apart"))


@pytest.fixture(autouse=True)
def exact_products():
    with jax.default_matmul_precision("highest"):
        yield


@pytest.fixture
def causal(decoder):
    if not decoder.is_causal:
        pytest.skip("tokens of a prefix language model see what follows them")
    return decoder


def test_decoding_behind_a_prefix(causal, noisy_params, tokens):
    params, following = noisy_params(causal), tokens(len(LENGTHS), STEPS, seed=2)
    got = DECODED(params, *_rows(tokens), following, causal, apart=True)
    expected = DECODED(params, *_rows(tokens), following, causal, apart=False)
    np.testing.assert_allclose(got, expected, atol=2e-5)


@pytest.mark.parametrize("name", ["gpt2", "grouped", "gemma3", "alibi"])
def test_a_long_prefix_is_worked_on_in_pieces(name, kind, noisy_params, tokens, monkeypatch):
    config = kind(name)
    params, shared = noisy_params(config), tokens(1, SHARED)
    whole = jax.jit(_prefix, static_argnames="config")(params, shared, config)
    monkeypatch.setattr(cached, "PIECE", 4)
    pieces = jax.jit(lambda params: _prefix(params, shared, config))(params)
    np.testing.assert_array_equal(pieces.mask, whole.mask)
    np.testing.assert_array_equal(pieces.positions, whole.positions)
    for got, expected in zip(pieces.layers, whole.layers, strict=True):
        for part in ("key", "value"):
            found, wanted = getattr(got, part), getattr(expected, part)
            assert found.shape == wanted.shape
            np.testing.assert_allclose(found[:, :, :SHARED], wanted[:, :, :SHARED], atol=2e-5)


@pytest.mark.parametrize("name", ["grouped", "gemma3", "relative_per_layer"])
def test_layers_that_are_not_scanned(name, kind, noisy_params, tokens, unrolled):
    scanned, following = kind(name), tokens(len(LENGTHS), STEPS, seed=2)
    params = noisy_params(scanned)
    apart, config = models.unroll_layers(params, scanned)
    assert config == unrolled(scanned)
    got = DECODED(apart, *_rows(tokens), following, config, apart=True)
    expected = DECODED(params, *_rows(tokens), following, scanned, apart=False)
    np.testing.assert_allclose(got, expected, atol=2e-5)


@pytest.mark.parametrize("name", ["llama", "grouped", "gemma3"])
def test_on_a_mesh(name, kind, noisy_params, tokens):
    config = kind(name)
    params = noisy_params(config)
    shared, own, mask = _rows(tokens)
    rows = (jnp.tile(own, (2, 1)), jnp.tile(mask, (2, 1)), tokens(2 * len(LENGTHS), STEPS, seed=2))
    expected = DECODED(params, shared, *rows, config, apart=False)
    mesh = make_mesh(MeshShape(2, 2, 2))
    shardings = rules.named_shardings(models.logical_axes(config), mesh, shapes=params)
    with rules.use_rules(mesh):
        split = jax.device_put(rows, rules.batch_sharding(mesh))
        decode = jax.jit(_decoded, static_argnames=("config", "apart"))
        got = decode(jax.device_put(params, shardings), shared, *split, config, apart=True)
    np.testing.assert_allclose(got, expected, atol=2e-5)


@pytest.mark.parametrize("name", ["gpt2", "grouped", "gemma3", "relative"])
def test_branches_behind_a_prefix(name, kind, noisy_params, tokens):
    causal = kind(name)
    params, shared = noisy_params(causal), tokens(1, SHARED)
    rest, first, second = (tokens(2, length, seed=length) for length in (2, 3, 4))
    run = jax.jit(models.branched_hidden_states, static_argnames="config")

    def batch(trunk, start):
        parts = [trunk, first, second]
        width, T = sum(part.shape[1] for part in parts), trunk.shape[1]
        places = [np.arange(T), *(T + np.arange(part.shape[1]) for part in parts[1:])]
        ids = [np.full(part.shape[1], number) for number, part in enumerate(parts)]
        return {
            "decoder_input_tokens": jnp.concatenate(parts, axis=1),
            "decoder_branch_ids": jnp.asarray(np.broadcast_to(np.concatenate(ids), (2, width))),
            "decoder_positions": jnp.asarray(
                np.broadcast_to(start + np.concatenate(places), (2, width))
            ),
        }

    whole = jnp.concatenate([jnp.broadcast_to(shared, (2, SHARED)), rest], axis=1)
    expected = run(params, batch(whole, 0), causal)[:, SHARED:]
    prefix = jax.jit(_prefix, static_argnames="config")(params, shared, causal)
    got = run(params, batch(rest, SHARED), causal, prefix=prefix)
    np.testing.assert_allclose(got, expected, atol=2e-5)


def test_a_prefix_is_held_once(kind, noisy_params, tokens):
    config = kind("grouped")
    prefix = _prefix(noisy_params(config), tokens(1, SHARED), config)
    assert int(prefix.length) == SHARED
    assert {layer.key.shape for layer in prefix.layers} == {(1, 2, SHARED + PADDING, 8)}
