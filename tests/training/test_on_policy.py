"""On-policy batches hold the model's own samples, in place and reproducibly."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_models import decoder_only, encoder_decoder

from tlm_jax import models
from tlm_jax.data.pipeline.converters import make_converter
from tlm_jax.decoding.generate import generate
from tlm_jax.decoding.greedy import greedy
from tlm_jax.errors import UserError
from tlm_jax.optim.schedules import Linear
from tlm_jax.ragged import Ragged, TokenizedExamples
from tlm_jax.sharding.mesh import MeshShape, make_mesh
from tlm_jax.training.on_policy import OnPolicy, OnPolicySampler, on_policy_batch

EOS = 1
MODELS = {"encoder_decoder": encoder_decoder(24), "decoder_only": decoder_only(24)}
INPUTS = [[7, 8, 5, 1], [8, 4, 9, 3, 1], [6, 1]]
LENGTHS = {"inputs": 6, "targets": 7}


@pytest.fixture(params=list(MODELS))
def case(request):
    config = MODELS[request.param]
    features = {
        "inputs": Ragged.from_arrays([np.array(x) for x in INPUTS], np.int32),
        "targets": Ragged.from_arrays([np.array([2, 1])] * 3, np.int32),
    }
    converter = make_converter(request.param, feature_lengths=LENGTHS)
    prepared = converter.prepare(TokenizedExamples(features, ("a", "b", "c"), ({}, {}, {})))
    # The fourth row is padding.
    batch = jax.device_put(converter.convert(prepared, np.arange(3), 4, packed=False))
    params = models.init(jax.random.key(0), config)
    # Flatter or sharper than at the start does not matter; EOS must be likely to be drawn at times.
    return config, params, batch


def sampled(case, *, temperature=1.0, seed=0, tokens=7):
    config, params, batch = case
    return on_policy_batch(
        params,
        batch,
        jax.random.PRNGKey(seed),
        config,
        temperature=temperature,
        max_new_tokens=tokens,
        eos_ids=(EOS,),
    )


def samples_of(config, batch) -> list[np.ndarray]:
    """Returns the weighed targets of each row."""
    weights = np.asarray(batch["decoder_loss_weights"])
    return [row[w > 0] for row, w in zip(np.asarray(batch["decoder_target_tokens"]), weights)]


def test_samples_stand_behind_the_prompt_up_to_their_eos(case):
    config, _, batch = case
    ended = 0
    for seed in range(8):
        made = sampled(case, seed=seed)
        rows = samples_of(config, made)
        assert len(rows[3]) == 0
        for number, (sample, prompt) in enumerate(zip(rows[:3], INPUTS)):
            targets = np.asarray(made["decoder_target_tokens"])[number]
            start = 0 if "encoder_input_tokens" in batch else len(prompt)
            assert list(targets[:start]) == (prompt if start else [])
            assert np.array_equal(targets[start : start + len(sample)], sample)
            assert not targets[start + len(sample) :].any()
            assert EOS not in sample[:-1]
            assert sample[-1] == EOS or len(sample) == 7
            ended += sample[-1] == EOS
        inputs, targets = made["decoder_input_tokens"], made["decoder_target_tokens"]
        np.testing.assert_array_equal(inputs[:, 1:], targets[:, :-1])
        np.testing.assert_array_equal(inputs[:, 0], batch["decoder_input_tokens"][:, 0])
    assert ended


def test_a_cold_sample_is_the_greedy_text(case):
    config, params, batch = case
    wanted = greedy(params, batch, config, max_decode_steps=7, eos_ids=(EOS,))
    made = samples_of(config, sampled(case, temperature=1e-4))
    for sample, tokens, length in list(zip(made, wanted.tokens, wanted.lengths))[:3]:
        np.testing.assert_array_equal(sample, tokens[: int(length)])


def test_the_model_reads_a_sample_as_it_wrote_it(case):
    """Id 0 is a token as any other, though padding in a T5 vocabulary."""
    config, params, batch = case

    def draw(key, logits, step):
        return jax.random.categorical(jax.random.fold_in(key, step), logits)

    zeros = 0
    for seed in range(6):
        made, key = sampled(case, seed=seed), jax.random.PRNGKey(seed)
        decoded = generate(
            params,
            batch,
            config,
            functools.partial(draw, key),
            max_decode_steps=7,
            eos_ids=(EOS,),
        )
        read = jax.nn.log_softmax(models.logits(params, made, config))
        targets = made["decoder_target_tokens"][:, :, None]
        read = np.asarray(jnp.take_along_axis(read, targets, axis=-1))[:, :, 0]
        weights = np.asarray(made["decoder_loss_weights"])
        for row, length in enumerate(np.asarray(decoded.lengths)[:3]):
            wrote = decoded.logprobs[row, :length]
            np.testing.assert_allclose(read[row][weights[row] > 0], wrote, atol=1e-5)
            zeros += int(np.sum(np.asarray(decoded.tokens)[row, : length - 1] == 0))
    assert zeros


def test_first_tokens_are_drawn_from_the_models_distribution(case):
    config, params, batch = case
    logits = models.prefill(params, batch, config, max_decode_steps=1)[1][0]
    probability = np.asarray(jax.nn.softmax(logits.astype(jnp.float32)))
    draw = jax.jit(
        jax.vmap(
            lambda key: on_policy_batch(
                params, batch, key, config, temperature=1.0, max_new_tokens=1, eos_ids=(EOS,)
            )["decoder_target_tokens"][0]
        )
    )
    place = 0 if "encoder_input_tokens" in batch else len(INPUTS[0])
    drawn = np.asarray(draw(jax.random.split(jax.random.key(5), 2000)))[:, place]
    counts = np.bincount(drawn, minlength=24)
    chi_square = np.sum((counts - 2000 * probability) ** 2 / (2000 * probability))
    assert chi_square < 49.7  # the 0.999 quantile for 23 degrees of freedom


def test_the_sampler_keeps_off_policy_batches_and_repeats_itself(case):
    config, params, batch = case
    mesh = make_mesh(MeshShape(data=4, fsdp=1, tensor=2))
    settings = OnPolicy(student_share=0.5, seed=3)
    sampler = OnPolicySampler(config, settings, (EOS,), lambda frozen, trained: trained, mesh)
    kinds = [settings.samples_at(step) for step in range(200)]
    assert 70 < sum(kinds) < 130
    off, on = kinds.index(False), kinds.index(True)
    assert sampler(None, params, batch, off) is batch
    first, again = (sampler(None, params, batch, on) for _ in range(2))
    alone = sampled(case, seed=0)
    assert sampler.steps == 2
    np.testing.assert_array_equal(first["decoder_target_tokens"], again["decoder_target_tokens"])
    # Sharded over eight devices or not, the samples are those of the step's key.
    plain = on_policy_batch(
        params,
        batch,
        settings.key(on),
        config,
        temperature=1.0,
        max_new_tokens=alone["decoder_target_tokens"].shape[1],
        eos_ids=(EOS,),
    )
    np.testing.assert_array_equal(first["decoder_target_tokens"], plain["decoder_target_tokens"])


def test_the_share_may_follow_a_schedule():
    rising = OnPolicy(student_share=Linear(peak=0.0, total_steps=1000, end=1.0))
    early = sum(rising.samples_at(step) for step in range(100))
    late = sum(rising.samples_at(step) for step in range(900, 1000))
    assert early < 15
    assert late > 85
    assert not any(OnPolicy(student_share=0).samples_at(step) for step in range(50))
    assert all(OnPolicy(student_share=1).samples_at(step) for step in range(50))


@pytest.mark.parametrize(
    ("field", "value"), [("student_share", 1.5), ("temperature", 0.0), ("max_new_tokens", 0)]
)
def test_impossible_settings_are_refused(field, value):
    with pytest.raises(UserError, match=f"OnPolicy.{field} is {value}: expected"):
        OnPolicy(**{field: value})
