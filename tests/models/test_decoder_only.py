"""Every kind of decoder-only model sees what it should, and decodes what it was trained to."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tlm_jax import models

# One shape for most calls, so that each model is compiled once.
ROWS, LENGTH = 2, 9

PREFILL = jax.jit(models.prefill, static_argnames=("config", "max_decode_steps"))
STEP = jax.jit(models.decode_step, static_argnames="config")


def _batch(tokens, prefix_lengths=(2, 3), **features):
    prefix = np.arange(tokens.shape[1])[None] < np.asarray(prefix_lengths)[:, None]
    return {
        "decoder_input_tokens": tokens,
        "decoder_target_tokens": tokens,
        "decoder_causal_attention": jnp.asarray(prefix, jnp.int32),
        **features,
    }


def _reach(config):
    """How many positions a token acts on: a layer carries it as far as its window reaches."""
    if config.layer_windows is None or not all(config.layer_windows):
        return LENGTH
    return config.num_layers * (config.attention_window - 1) + 1


def test_position_t_sees_tokens_up_to_t_only(decoder, noisy_params, logits, tokens):
    params, ids = noisy_params(decoder), tokens(ROWS, LENGTH)
    before = logits(params, _batch(ids), config=decoder)
    for position in (1, 4, 8):
        inputs = {"decoder_input_tokens": ids.at[:, position].set(ids[:, position] % 63 + 1)}
        after = logits(params, _batch(ids) | inputs, config=decoder)
        changed = np.abs(after - before).max(axis=2)
        # Prompts are 2 and 3 long; with prefix_lm their first positions see the whole prompt.
        blind = slice(2 if decoder.prefix_lm and position < 2 else 0, position)
        assert (changed[:, blind] == 0).all()
        assert (changed[:, position : position + _reach(decoder)] > 1e-5).all()
        assert (changed[:, position + _reach(decoder) :] == 0).all()
        if decoder.prefix_lm and position == 1:
            assert (changed[:, 0] > 1e-5).all()


def test_gradients_are_causal(llama, noisy_params):
    params = noisy_params(llama)
    batch = _batch(jnp.arange(1, LENGTH + 1)[None], prefix_lengths=(3,))

    def output(table, position):
        embedder = params["decoder"]["token_embedder"] | {"embedding": table}
        changed = {"decoder": params["decoder"] | {"token_embedder": embedder}}
        hidden = models.hidden_states(changed, batch, llama)
        return jnp.sum(hidden[0, position] * jnp.arange(1.0, hidden.shape[-1] + 1))

    gradient = jax.jit(jax.grad(output))
    table = params["decoder"]["token_embedder"]["embedding"]
    for position in (0, 1, 4, 8):
        seen = np.abs(gradient(table, position)).sum(axis=1)[1 : LENGTH + 1]
        assert (seen[: position + 1] > 1e-6).all()
        assert (seen[position + 1 :] == 0).all()


def test_packed_rows_equal_rows_of_their_own(decoder, noisy_params, logits, tokens):
    params, ids = noisy_params(decoder), tokens(ROWS, LENGTH)
    lengths, prefixes = (5, 9), (2, 3)
    alone = _batch(ids * (np.arange(LENGTH)[None] < np.asarray(lengths)[:, None]), prefixes)
    pad = [0, 0]
    packed = {
        "decoder_input_tokens": jnp.asarray([[*ids[0, :5], *ids[1], *pad]]),
        "decoder_target_tokens": jnp.asarray([[*ids[0, :5], *ids[1], *pad]]),
        "decoder_causal_attention": jnp.asarray([[1, 1, 0, 0, 0, 1, 1, 1] + [0] * 8]),
        "decoder_segment_ids": jnp.asarray([[1] * 5 + [2] * 9 + pad]),
        "decoder_positions": jnp.asarray([[*range(5), *range(9), *pad]]),
    }
    together = logits(params, packed, config=decoder)
    apart = logits(params, alone, config=decoder)
    np.testing.assert_allclose(together[0, :5], apart[0, :5], atol=1e-5)
    np.testing.assert_allclose(together[0, 5:14], apart[1], atol=1e-5)


def test_scanned_layers_equal_unrolled_ones(decoder, noisy_params, logits, tokens, unrolled):
    params, batch = noisy_params(decoder), _batch(tokens(ROWS, LENGTH))
    flat = unrolled(decoder)
    np.testing.assert_allclose(
        logits(models.to_layout(params, flat), batch, config=flat),
        logits(params, batch, config=decoder),
        atol=1e-5,
    )


def test_cached_decoding_equals_the_full_forward_pass(decoder, noisy_params, logits, tokens):
    params, ids = noisy_params(decoder), tokens(ROWS, LENGTH)
    prompt_lengths, steps, width = (3, 5), 4, 6
    full = logits(params, _batch(ids, prompt_lengths), config=decoder)
    for side in ("right", "left"):
        padded, prompt = np.full((ROWS, width), 63), np.zeros((ROWS, width), np.int32)
        for row, length in enumerate(prompt_lengths):
            place = slice(0, length) if side == "right" else slice(width - length, width)
            padded[row, place], prompt[row, place] = ids[row, :length], 1
        batch = {
            "decoder_input_tokens": jnp.asarray(padded, jnp.int32),
            "decoder_causal_attention": jnp.asarray(prompt),
        }
        cache, got = PREFILL(params, batch, config=decoder, max_decode_steps=steps)
        for column in range(steps + 1):
            last = [length + column - 1 for length in prompt_lengths]
            expected = full[np.arange(ROWS), np.asarray(last)]
            np.testing.assert_allclose(got, expected, atol=2e-5)
            if column < steps:
                following = ids[np.arange(ROWS), np.asarray(last) + 1]
                cache, got = STEP(params, cache, following, config=decoder)


@pytest.mark.parametrize(("scan", "policy"), [(False, "none"), (False, "full"), (True, "full")])
def test_cached_decoding_without_scan_and_with_remat(
    llama, noisy_params, logits, tokens, scan, policy
):
    config = dataclasses.replace(llama, scan_layers=scan, remat_policy=policy)
    params, ids = noisy_params(config), tokens(ROWS, LENGTH)
    full = logits(params, _batch(ids), config=config)
    prompt = {"decoder_input_tokens": ids[:, :7]}
    cache, got = PREFILL(params, prompt, config=config, max_decode_steps=2)
    np.testing.assert_allclose(got, full[:, 6], atol=1e-5)
    for column in (7, 8):
        cache, got = STEP(params, cache, ids[:, column], config=config)
        np.testing.assert_allclose(got, full[:, column], atol=1e-5)


def test_selected_rows_go_on_as_their_originals(llama, noisy_params, tokens):
    params, ids = noisy_params(llama), tokens(3, 5)
    prompt = {"decoder_input_tokens": ids}
    cache, _ = PREFILL(params, prompt, config=llama, max_decode_steps=1)
    rows, following = jnp.asarray([2, 0, 0, 1]), jnp.asarray([7, 8, 9])
    _, expected = STEP(params, cache, following, config=llama)
    chosen = models.select_rows(cache, rows)
    _, got = STEP(params, chosen, following[rows], config=llama)
    np.testing.assert_allclose(got, expected[rows], atol=1e-6)


def test_token_zero_is_real_inside_a_segment(llama, noisy_params, logits):
    params = noisy_params(llama)
    segments = jnp.ones((1, 4), jnp.int32)
    with_zero = _batch(jnp.asarray([[5, 0, 7, 9]]), (1,), decoder_segment_ids=segments)
    without = _batch(jnp.asarray([[5, 3, 7, 9]]), (1,), decoder_segment_ids=segments)
    changed = logits(params, with_zero, config=llama) - logits(params, without, config=llama)
    assert np.abs(changed[0, 3]).max() > 1e-3


def test_an_id_beyond_the_table_spoils_its_row_rather_than_pass_for_another(
    llama, noisy_params, logits, tokens
):
    ids = tokens(ROWS, LENGTH).at[0, 4].set(64)
    got = logits(noisy_params(llama), _batch(ids), config=llama)
    assert np.isnan(got[0]).all()
    assert np.isfinite(got[1]).all()
