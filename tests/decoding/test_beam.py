"""Beam search against T5X, transformers, and the best of all texts there are."""

import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tlm_jax import models
from tlm_jax.checkpoints.loading import load_params
from tlm_jax.checkpoints.pretrained import open_pretrained
from tlm_jax.conformance import t5x_beams
from tlm_jax.conformance.t5x_recording import Recording
from tlm_jax.decoding.beam import jit_beam
from tlm_jax.decoding.beam_rules import BeamSearch
from tlm_jax.decoding.greedy import jit_greedy
from tlm_jax.errors import UserError
from tlm_jax.sharding import rules
from tlm_jax.sharding.mesh import MeshShape, make_mesh

KINDS = ["encdec", "dec"]
RULES = ["t5x", "transformers"]
EOS = 1

# Rows that the recording does not tell fully; see `t5x_beams.RecordedBeams.compared`.
OVERRUN = {"beam1": [2], "beam4": [], "beam1_bidirectional": [0], "beam4_bidirectional": [0]}


@functools.cache
def _recording(directory):
    return Recording.load(directory)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *itertools.product(["t5_untied", "scalable_t5_untied"], ["beam1", "beam4"]),
        *(("decoder_only_untied", kind) for kind in OVERRUN),
    ],
)
def test_reproduces_t5x(shared_dir, name, kind):
    recording = _recording(shared_dir / "fixtures" / "t5x" / name)
    assert kind in t5x_beams.recorded_kinds(recording)
    expected_tokens = recording.expected[f"decode_{kind}_tokens"]
    expected_scores = recording.expected[f"decode_{kind}_scores"]
    tokens, scores, compared, overrun, finished = t5x_beams.search_again(recording, kind)
    expected_overrun = OVERRUN[kind] if name.startswith("decoder_only") else []
    assert np.flatnonzero(overrun).tolist() == expected_overrun
    assert compared[~overrun].all()
    np.testing.assert_array_equal(tokens[compared], expected_tokens[compared])
    np.testing.assert_allclose(scores[compared], expected_scores[compared], atol=1e-4, rtol=1e-5)
    ended = (expected_tokens == EOS).any(axis=-1)
    np.testing.assert_array_equal(finished[compared], ended[compared])


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("beam4", {}),
        ("beam4_eos_lp1.0_es0", {"length_penalty": 1.0}),
        ("beam4_eos_lp1.0_es1", {"length_penalty": 1.0, "early_stopping": True}),
        ("beam4_eos_lp0.6_es0", {"length_penalty": 0.6}),
        ("beam4_eos_lp2.0_es0", {"length_penalty": 2.0}),
    ],
)
@pytest.mark.parametrize("family", ["t5_v1_0", "t5_v1_1"])
def test_reproduces_transformers(shared_dir, family, name, changes):
    config, params, batch, reference = _hugging_face(shared_dir / "fixtures" / "hf" / family)
    expected_ids, expected_scores = reference[f"{name}_ids"], reference[f"{name}_scores"]
    _, P, T = expected_ids.shape
    eos = int(reference["beam4_eos_id"])
    search = BeamSearch(P, "transformers", **changes)
    eos_ids = (eos,) if "eos" in name else ()

    beams = jit_beam(config, search, max_decode_steps=T, eos_ids=eos_ids)(params, batch)

    # transformers pads the shorter texts with EOS; the recording is cut at the longest.
    lengths = np.asarray(beams.lengths)
    padding = (np.arange(T) >= lengths[..., None]) & (np.arange(T) < lengths.max())
    np.testing.assert_array_equal(np.where(padding, eos, beams.tokens), expected_ids)
    np.testing.assert_allclose(beams.scores, expected_scores, atol=1e-4, rtol=1e-5)
    last = np.take_along_axis(np.asarray(beams.tokens), lengths[..., None] - 1, axis=2)[..., 0]
    np.testing.assert_array_equal(beams.finished, np.isin(last, eos_ids))


@functools.cache
def _hugging_face(directory):
    source = open_pretrained(directory)
    config = dataclasses.replace(source.config, dtype="float32")
    reference = dict(np.load(directory / "reference.npz"))
    tokens = reference["input_ids"] * reference["attention_mask"]
    batch = {"encoder_input_tokens": jnp.asarray(tokens, jnp.int32)}
    return config, load_params(source, config), batch, reference


def _score(logprob, search, prompt, length):
    """The score of one text, worked out in NumPy; T5X counts the prompt less BOS."""
    if search.rule == "transformers":
        return logprob / length**search.exponent
    return logprob / ((5 + prompt + length) / 6) ** search.exponent


def _all_texts(config, params, batch, row, steps):
    """Returns every text of up to `steps` tokens of one prompt, and log p of each."""
    vocab = range(config.vocab_size)
    texts = np.asarray(list(itertools.product(vocab, repeat=steps)), np.int32)
    count = len(texts)
    if "encoder_input_tokens" in batch:
        prompt, start = 0, 0
        inputs = np.pad(texts[:, :-1], ((0, 0), (1, 0)))
        forced = {
            "encoder_input_tokens": jnp.repeat(batch["encoder_input_tokens"][row][None], count, 0)
        }
    else:
        length = int(batch["decoder_causal_attention"][row].sum())
        prompt, start, forced = length - 1, length - 1, {}
        prefix = np.asarray(batch["decoder_input_tokens"][row, :length])
        inputs = np.concatenate([np.tile(prefix, (count, 1)), texts[:, :-1]], axis=1)
    forced |= {"decoder_input_tokens": jnp.asarray(inputs)}
    forced |= {"decoder_target_tokens": jnp.ones(inputs.shape, jnp.int32)}
    logits = jax.jit(models.logits, static_argnames="config")(params, forced, config=config)
    all_logprobs = np.asarray(jax.nn.log_softmax(logits))[:, start:]
    chosen = np.take_along_axis(all_logprobs, texts[..., None], axis=2)[..., 0]
    found = {}
    for text, logprobs in zip(texts.tolist(), chosen):
        ended = EOS in text
        length = text.index(EOS) + 1 if ended else steps
        found[tuple(text[:length])] = (float(logprobs[:length].sum()), ended)
    return found, prompt


@pytest.mark.parametrize(
    ("kind", "rule", "length_penalty", "early_stopping"),
    [
        ("encdec", "t5x", 0.6, False),
        ("dec", "t5x", 2.0, False),
        ("encdec", "transformers", 1.0, "never"),
        ("dec", "transformers", -1.0, "never"),
    ],
)
def test_enough_beams_find_the_best_of_all_texts(
    tiny, prompts, kind, rule, length_penalty, early_stopping
):
    # Of 4 tokens 3 go on, so the third step has 3 * 3 beams and 36 continuations.
    search, steps = BeamSearch(36, rule, length_penalty, early_stopping), 3
    config, params = tiny(kind, 4)
    batch = prompts(config, rows=2)
    beams = jit_beam(config, search, max_decode_steps=steps, eos_ids=(EOS,))(params, batch)
    for row in range(2):
        texts, prompt = _all_texts(config, params, batch, row, steps)
        scores = {
            text: _score(logprob, search, prompt, len(text))
            for text, (logprob, ended) in texts.items()
            if ended or rule == "transformers"
        }
        best = sorted(scores, key=scores.__getitem__, reverse=True)[: search.num_beams]
        assert len(best) == (13 if rule == "t5x" else 36)
        for place, text in enumerate(best):
            length = int(beams.lengths[row, place])
            assert tuple(np.asarray(beams.tokens[row, place, :length]).tolist()) == text
            np.testing.assert_allclose(beams.scores[row, place], scores[text], rtol=1e-4)
            assert bool(beams.finished[row, place]) == (EOS in text)


@pytest.mark.parametrize("kind", KINDS)
def test_one_beam_without_eos_is_greedy(tiny, prompts, kind):
    config, params = tiny(kind, 32)
    batch = prompts(config)
    limits = {"max_decode_steps": 6, "eos_ids": ()}
    greedy = jit_greedy(config, **limits)(params, batch)
    for rule, divisor in (("transformers", 6.0), ("t5x", 1.0)):  # T5X divides only what ended
        beams = jit_beam(config, BeamSearch(1, rule), **limits)(params, batch)
        np.testing.assert_array_equal(beams.tokens[:, 0], greedy.tokens)
        total = np.asarray(greedy.logprobs).sum(axis=1)
        np.testing.assert_allclose(beams.scores[:, 0], total / divisor, rtol=1e-5)
        assert (beams.lengths == 6).all()
        assert not beams.finished.any()


@pytest.mark.parametrize(
    ("kind", "rule"), [("encdec", "t5x"), ("dec", "t5x"), ("encdec", "transformers")]
)
def test_prompts_do_not_influence_each_other(tiny, prompts, kind, rule):
    config, params = tiny(kind, 12)
    batch = prompts(config, rows=6)
    decode = jit_beam(config, BeamSearch(3, rule), max_decode_steps=7, eos_ids=(EOS,))
    together = decode(params, batch)
    assert len({tuple(np.asarray(row).tolist()) for row in together.lengths}) > 1
    for row in range(6):
        alone = decode(params, {name: x[row : row + 1] for name, x in batch.items()})
        for got, expected in zip(alone[:1] + alone[2:], together[:1] + together[2:]):
            np.testing.assert_array_equal(got[0], expected[row])
        np.testing.assert_allclose(alone.scores[0], together.scores[row], atol=1e-5)


@pytest.mark.parametrize("rule", RULES)
def test_texts_that_ended_stay_or_give_way_to_better_ones(tiny, prompts, rule):
    config, params = tiny("encdec", 12)
    batch = prompts(config)

    def search(steps):
        eos_ids = tuple(range(6, 12))
        decode = jit_beam(config, BeamSearch(3, rule), max_decode_steps=steps, eos_ids=eos_ids)
        tokens, scores, lengths, finished = map(np.asarray, decode(params, batch))
        assert (scores[:, 1:] <= scores[:, :-1]).all()
        assert not tokens[np.arange(steps) >= lengths[..., None]].any()
        texts = [
            [tuple(text[:n]) for text, n in zip(*row)] for row in zip(tokens.tolist(), lengths)
        ]
        return texts, scores, finished

    (texts, scores, finished), (later, later_scores, _) = search(3), search(8)
    kept = 0
    for row, place in np.argwhere(finished):
        text, score = texts[row][place], scores[row, place]
        if text in later[row]:
            kept += 1
            assert later_scores[row, later[row].index(text)] == pytest.approx(score, rel=1e-5)
        else:
            assert (later_scores[row] >= score).all()
    assert kept >= 4


def test_empty_places_and_several_eos_ids(tiny, prompts):
    config, params = tiny("encdec", 4)
    batch = prompts(config)
    search = BeamSearch(8)  # more than the three beginnings of one token that go on
    beams = jit_beam(config, search, max_decode_steps=1, eos_ids=(1, 2))(params, batch)
    texts = np.sort(np.asarray(beams.tokens)[:, :, 0], axis=1)
    np.testing.assert_array_equal(texts, [[0] * 6 + [1, 2]] * 4)
    np.testing.assert_array_equal(beams.lengths, [[1, 1] + [0] * 6] * 4)
    np.testing.assert_array_equal(beams.finished, [[True, True] + [False] * 6] * 4)
    assert np.isneginf(beams.scores[:, 2:]).all()
    assert np.isfinite(beams.scores[:, :2]).all()


@pytest.mark.parametrize("rule", RULES)
def test_ends_when_nothing_better_can_come_and_compiles_once_per_shape(tiny, prompts, rule):
    config, params = tiny("encdec", 32)
    batch = prompts(config)
    search = BeamSearch(2, rule, length_penalty=0.0)
    every_id = tuple(range(32))
    decode = jit_beam(config, search, max_decode_steps=100_000, eos_ids=every_id)
    beams = decode(params, batch)  # would not return within the test if all steps were run
    assert (beams.lengths == 1).all()
    assert beams.finished.all()
    decode(params, batch)
    assert decode._cache_size() == 1


@pytest.mark.parametrize("kind", KINDS)
def test_eight_devices_find_what_one_does(tiny, prompts, kind):
    config, params = tiny(kind, 32)
    batch = prompts(config, rows=8)
    search, limits = BeamSearch(3), {"max_decode_steps": 6, "eos_ids": (EOS,)}
    alone = jit_beam(config, search, **limits)(params, batch)
    mesh = make_mesh(MeshShape(2, 2, 2))
    shardings = rules.named_shardings(models.logical_axes(config), mesh, shapes=params)
    with rules.use_rules(mesh):
        beams = jit_beam(config, search, **limits)(
            jax.device_put(params, shardings),
            jax.device_put(batch, rules.batch_sharding(mesh)),
        )
    np.testing.assert_array_equal(beams.tokens, alone.tokens)
    np.testing.assert_allclose(beams.scores, alone.scores, atol=1e-5)
    np.testing.assert_array_equal(beams.lengths, alone.lengths)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rule": "t5"}, "no rule 't5'.*Did you mean 't5x'"),
        ({"num_beams": 0}, "num_beams of at least 1, got 0"),
        ({"rule": "transformers", "early_stopping": "always"}, "'never', got 'always'"),
        ({"early_stopping": True}, "take rule 'transformers'"),
        ({"length_penalty": -0.5}, "at least 0, got -0.5"),
    ],
)
def test_says_which_value_the_rule_does_not_have(arguments, message):
    with pytest.raises(UserError, match=message):
        BeamSearch(**({"num_beams": 4} | arguments))
