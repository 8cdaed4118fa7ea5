"""T5 in all its forms: what sees what, packing, scanning and cached decoding."""

import jax
import jax.numpy as jnp
import numpy as np

from tlm_jax import models

PREFILL = jax.jit(models.prefill, static_argnames=("config", "max_decode_steps"))
STEP = jax.jit(models.decode_step, static_argnames="config")


def _batch(inputs, targets, **features):
    shifted = jnp.pad(targets, ((0, 0), (1, 0)))[:, :-1]
    return {
        "encoder_input_tokens": inputs,
        "decoder_input_tokens": shifted,
        "decoder_target_tokens": targets,
        **features,
    }


def test_decoder_sees_all_inputs_and_earlier_tokens_only(
    encoder_decoder, noisy_params, logits, tokens
):
    params, batch = noisy_params(encoder_decoder), _batch(tokens(2, 7), tokens(2, 6))
    before = logits(params, batch, config=encoder_decoder)
    for position in (0, 3, 5):
        ids = batch["decoder_input_tokens"]
        inputs = {"decoder_input_tokens": ids.at[:, position].set(ids[:, position] % 63 + 1)}
        changed = np.abs(logits(params, batch | inputs, config=encoder_decoder) - before).max(
            axis=2
        )
        assert (changed[:, :position] == 0).all()
        assert (changed[:, position:] > 1e-5).all()
    for position in (0, 6):
        ids = batch["encoder_input_tokens"]
        inputs = {"encoder_input_tokens": ids.at[:, position].set(ids[:, position] % 63 + 1)}
        changed = np.abs(logits(params, batch | inputs, config=encoder_decoder) - before).max(
            axis=2
        )
        assert (changed > 1e-5).all()


def test_gradients_are_causal(t5, noisy_params):
    params = noisy_params(t5)
    batch = {
        "encoder_input_tokens": jnp.arange(1, 6)[None],
        "decoder_input_tokens": jnp.arange(10, 16)[None],
        "decoder_target_tokens": jnp.arange(20, 26)[None],
    }

    def output(table, position):
        changed = params | {"token_embedder": {"embedding": table}}
        hidden = models.hidden_states(changed, batch, t5)
        return jnp.sum(hidden[0, position] * jnp.arange(1.0, hidden.shape[-1] + 1))

    gradient = jax.jit(jax.grad(output))
    for position in (0, 3, 5):
        seen = np.abs(gradient(params["token_embedder"]["embedding"], position)).sum(axis=1)
        assert (seen[1:6] > 1e-6).all()
        assert (seen[10 : 10 + position + 1] > 1e-6).all()
        assert (seen[10 + position + 1 :] == 0).all()


def test_packed_rows_equal_padded_rows_of_their_own(encoder_decoder, noisy_params, logits, tokens):
    params, x, y = noisy_params(encoder_decoder), tokens(2, 7), tokens(2, 6, seed=1)
    x, y = x.at[0, 4:].set(0), y.at[0, 3:].set(0)
    apart = _batch(x, y)
    shifted = apart["decoder_input_tokens"]
    packed = {
        "encoder_input_tokens": jnp.asarray([[*x[0, :4], *x[1], 0, 0]]),
        "decoder_input_tokens": jnp.asarray([[*shifted[0, :3], *shifted[1], 0]]),
        "decoder_target_tokens": jnp.asarray([[*y[0, :3], *y[1], 0]]),
        "encoder_segment_ids": jnp.asarray([[1] * 4 + [2] * 7 + [0] * 2]),
        "decoder_segment_ids": jnp.asarray([[1] * 3 + [2] * 6 + [0]]),
        "encoder_positions": jnp.asarray([[*range(4), *range(7), 0, 0]]),
        "decoder_positions": jnp.asarray([[*range(3), *range(6), 0]]),
    }
    together = logits(params, packed, config=encoder_decoder)
    expected = logits(params, apart, config=encoder_decoder)
    np.testing.assert_allclose(together[0, :3], expected[0, :3], atol=1e-5)
    np.testing.assert_allclose(together[0, 3:9], expected[1], atol=1e-5)


def test_padding_changes_nothing(t5, noisy_params, logits, tokens):
    params, x, y = noisy_params(t5), tokens(2, 7), tokens(2, 6)
    padded = _batch(jnp.pad(x, ((0, 0), (0, 3))), jnp.pad(y, ((0, 0), (0, 2))))
    np.testing.assert_allclose(
        logits(params, padded, config=t5)[:, :6],
        logits(params, _batch(x, y), config=t5),
        atol=1e-5,
    )


def test_scanned_layers_equal_unrolled_ones(
    encoder_decoder, noisy_params, logits, tokens, unrolled
):
    params, batch = noisy_params(encoder_decoder), _batch(tokens(2, 7), tokens(2, 6))
    flat = unrolled(encoder_decoder)
    np.testing.assert_allclose(
        logits(models.to_layout(params, flat), batch, config=flat),
        logits(params, batch, config=encoder_decoder),
        atol=1e-5,
    )


def test_cached_decoding_equals_the_full_forward_pass(
    encoder_decoder, noisy_params, logits, tokens
):
    params, y = noisy_params(encoder_decoder), tokens(2, 6)
    x = tokens(2, 7) * jnp.asarray([[1] * 7, [1] * 4 + [0] * 3])
    batch = _batch(x, y)
    full = logits(params, batch, config=encoder_decoder)
    cache, got = PREFILL(params, batch, config=encoder_decoder, max_decode_steps=5)
    np.testing.assert_allclose(got, full[:, 0], atol=1e-5)
    for column in range(5):
        cache, got = STEP(params, cache, y[:, column], config=encoder_decoder)
        np.testing.assert_allclose(got, full[:, column + 1], atol=2e-5)


def test_decoding_starts_with_zero_where_the_batch_names_no_bos(t5, noisy_params, tokens):
    params, x = noisy_params(t5), tokens(2, 5)
    implicit = {"encoder_input_tokens": x}
    _, implied = PREFILL(params, implicit, config=t5, max_decode_steps=1)
    named = {"encoder_input_tokens": x, "decoder_input_tokens": jnp.zeros((2, 3), jnp.int32)}
    _, given = PREFILL(params, named, config=t5, max_decode_steps=1)
    np.testing.assert_array_equal(implied, given)


def test_selected_rows_take_their_inputs_along(t5, noisy_params, tokens):
    params, x = noisy_params(t5), tokens(2, 7)
    x = x.at[0, 4:].set(0)
    cache, _ = PREFILL(params, {"encoder_input_tokens": x}, config=t5, max_decode_steps=5)
    rows, following = jnp.asarray([1, 1, 0]), jnp.asarray([7, 8])
    _, expected = STEP(params, cache, following, config=t5)
    chosen = models.select_rows(cache, rows)
    _, got = STEP(params, chosen, following[rows], config=t5)
    np.testing.assert_allclose(got, expected[rows], atol=1e-6)
