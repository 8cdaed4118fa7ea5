"""A row with several continuations gives each the hidden states it has when it stands alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tlm_jax import models

TRUNK, LENGTHS = 7, (3, 5, 1)


def _alone(trunk, branch, prefix_lm):
    whole = jnp.concatenate([trunk, branch], axis=1)
    batch = {
        "decoder_input_tokens": whole,
        "decoder_target_tokens": jnp.ones_like(whole),
    }
    if prefix_lm:
        in_trunk = jnp.arange(whole.shape[1]) < trunk.shape[1]
        batch["decoder_causal_attention"] = jnp.broadcast_to(in_trunk, whole.shape).astype(int)
    return batch


def _branched(trunk, branches):
    parts = [trunk, *branches, jnp.zeros((trunk.shape[0], 2), jnp.int32)]
    numbers = [*range(len(branches) + 1), -1]
    starts = [0, *[trunk.shape[1]] * len(branches), 0]
    rows = trunk.shape[0]

    def broadcast(values):
        return jnp.broadcast_to(jnp.asarray(np.concatenate(values), jnp.int32), (rows, width))

    width = sum(part.shape[1] for part in parts)
    return {
        "decoder_input_tokens": jnp.concatenate(parts, axis=1),
        "decoder_branch_ids": broadcast([np.full(p.shape[1], n) for p, n in zip(parts, numbers)]),
        "decoder_positions": broadcast([s + np.arange(p.shape[1]) for p, s in zip(parts, starts)]),
    }


def _check(params, config, trunk, branches, encoder):
    with jax.default_matmul_precision("highest"):
        apart = jax.jit(models.hidden_states, static_argnames="config")
        got = jax.jit(models.branched_hidden_states, static_argnames="config")(
            params, _branched(trunk, branches) | encoder, config
        )
        start = trunk.shape[1]
        for branch in branches:
            prefix_lm = getattr(config, "prefix_lm", False)
            expected = apart(params, _alone(trunk, branch, prefix_lm) | encoder, config)
            end = start + branch.shape[1]
            np.testing.assert_allclose(got[:, start:end], expected[:, trunk.shape[1] :], atol=2e-5)
            np.testing.assert_allclose(
                got[:, : trunk.shape[1]], expected[:, : trunk.shape[1]], atol=2e-5
            )
            start = end


def test_decoder_only(decoder, noisy_params, tokens):
    branches = [tokens(2, length, seed=length) for length in LENGTHS]
    _check(noisy_params(decoder), decoder, tokens(2, TRUNK), branches, {})


def test_encoder_decoder(encoder_decoder, noisy_params, tokens):
    encoder = {"encoder_input_tokens": tokens(2, 6, seed=9).at[0, 4:].set(0)}
    branches = [tokens(2, length, seed=length) for length in LENGTHS]
    bos = jnp.zeros((2, 1), jnp.int32)
    _check(noisy_params(encoder_decoder), encoder_decoder, bos, branches, encoder)


@pytest.mark.parametrize("scan", [True, False], ids=["scanned", "unrolled"])
def test_branches_do_not_see_each_other(kind, noisy_params, tokens, unrolled, scan):
    config = kind("llama") if scan else unrolled(kind("llama"))
    params = noisy_params(config)
    trunk, first, second = tokens(2, TRUNK), tokens(2, 3, seed=1), tokens(2, 4, seed=2)
    other = tokens(2, 3, seed=3)
    run = jax.jit(models.branched_hidden_states, static_argnames="config")
    one = run(params, _branched(trunk, [first, second]), config)
    two = run(params, _branched(trunk, [other, second]), config)
    kept = np.r_[0:TRUNK, TRUNK + 3 : TRUNK + 7]
    np.testing.assert_array_equal(one[:, kept], two[:, kept])
    assert np.abs(np.asarray(one - two)[:, TRUNK : TRUNK + 3]).max() > 1e-2
