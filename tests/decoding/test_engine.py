"""The engine against the model without a cache, against itself alone, and on a mesh."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from same_samples import assert_same_samples

from tlm_jax import models
from tlm_jax.decoding.engine import Engine
from tlm_jax.decoding.requests import Request, Sampling
from tlm_jax.errors import UserError
from tlm_jax.sharding import rules
from tlm_jax.sharding.mesh import MeshShape, make_mesh

VOCABULARY = 40
KINDS = ["encdec", "dec"]
_logits = jax.jit(models.logits, static_argnames="config")


def _requests(number=9, *, longest=40, most_new=90, samples=3, **settings):
    rng = np.random.default_rng(0)
    return [
        Request(
            id=f"r{index}",
            prompt=rng.integers(2, VOCABULARY, rng.integers(1, longest)).tolist(),
            seeds=[1000 * index + seed for seed in range(rng.integers(1, samples + 1))],
            sampling=Sampling(
                **{
                    "max_new_tokens": int(rng.integers(1, most_new)),
                    "temperature": (index % 3) / 2,
                    "top_k": (index % 4) * 3,
                    "top_p": 0.9 if index % 2 else 1.0,
                    **settings,
                }
            ),
        )
        for index in range(number)
    ]


def _by_seed(engine, requests):
    samples = {(sample.request_id, sample.seed): sample for sample in engine.run(requests)}
    assert sorted(samples) == sorted((r.id, seed) for r in requests for seed in r.seeds)
    return samples


def _reference(config, params, prompt, tokens):
    """Returns log-probabilities [T, V] at each token, from one pass without a cache.

    Padded at the end to one length, which nothing before it sees.
    """
    size = 160
    if isinstance(config, models.EncoderDecoderConfig):
        inputs, start = [0, *tokens[:-1]], 0
        batch = {"encoder_input_tokens": jnp.asarray([[*prompt, *[0] * (size - len(prompt))]])}
    else:
        inputs, start = [*prompt, *tokens[:-1]], len(prompt) - 1
        batch = {}
    row = jnp.asarray([[*inputs, *[0] * (size - len(inputs))]])
    batch |= {"decoder_input_tokens": row, "decoder_target_tokens": jnp.ones_like(row)}
    logits = _logits(params, batch, config)[0, start : start + len(tokens)]
    return np.asarray(jax.nn.log_softmax(logits))


@pytest.fixture(scope="module")
def mixed(tiny):
    """Returns what nine mixed requests give in three rows with no end token, by kind of model."""

    @functools.cache
    def decode(kind):
        config, params = tiny(kind, VOCABULARY)
        engine = Engine(params, config, rows=3, eos_ids=(), num_candidates=4)
        with jax.default_matmul_precision("highest"):
            return _by_seed(engine, _requests()), engine.stats()

    return decode


@pytest.mark.parametrize("kind", KINDS)
def test_log_probabilities_and_candidates_are_those_of_the_full_model(tiny, mixed, kind):
    config, params = tiny(kind, VOCABULARY)
    samples, stats = mixed(kind)
    for request in _requests():
        for seed in request.seeds:
            sample = samples[request.id, seed]
            assert len(sample.tokens) == request.sampling.max_new_tokens
            assert sample.finish_reason == "length"
            expected = _reference(config, params, request.prompt, sample.tokens)
            places = np.arange(len(sample.tokens))
            np.testing.assert_allclose(
                sample.logprobs, expected[places, list(sample.tokens)], atol=1e-4
            )
            top = -np.sort(-expected, axis=-1)[:, :4]
            np.testing.assert_allclose(sample.candidates.logprobs, top, atol=1e-4)
            of_ids = np.take_along_axis(expected, sample.candidates.ids, axis=-1)
            np.testing.assert_allclose(of_ids, top, atol=1e-4)
            mass = np.exp(top).sum(-1) + np.exp(sample.candidates.outside_logprob)
            np.testing.assert_allclose(mass, 1, atol=1e-5)
            if request.sampling.temperature == 0:
                np.testing.assert_array_equal(sample.tokens, sample.candidates.ids[:, 0])
    assert stats.prompts == 9
    assert stats.samples == len(samples)
    assert stats.new_tokens == sum(len(sample.tokens) for sample in samples.values())


@pytest.mark.parametrize("kind", KINDS)
def test_a_sample_alone_is_the_one_among_others(tiny, mixed, kind):
    config, params = tiny(kind, VOCABULARY)
    alone = Engine(params, config, rows=1, eos_ids=(), steps_per_call=5)
    again = {}
    for request in reversed(_requests()):
        last = dataclasses.replace(request, seeds=request.seeds[-1:])
        again |= _by_seed(alone, [last])
    expected = {key: mixed(kind)[0][key] for key in again}
    assert_same_samples(again, expected)


@pytest.mark.parametrize("kind", KINDS)
def test_eight_devices_sample_what_one_does(tiny, mixed, kind):
    config, params = tiny(kind, VOCABULARY)
    mesh = make_mesh(MeshShape(2, 2, 2))
    shardings = rules.named_shardings(models.logical_axes(config), mesh, shapes=params)
    engine = Engine(jax.device_put(params, shardings), config, rows=4, eos_ids=(), mesh=mesh)
    some = _requests()[:4]
    expected = {
        key: mixed(kind)[0][key] for key in mixed(kind)[0] if key[0] in ("r0", "r1", "r2", "r3")
    }
    assert_same_samples(_by_seed(engine, some), expected)


def test_rows_that_end_make_room_at_once(tiny):
    """One long sample beside many short ones takes no more steps than itself."""
    config, params = tiny("dec", VOCABULARY)
    engine = Engine(params, config, rows=2, eos_ids=())
    long = Request(id="long", prompt=[3], sampling=Sampling(max_new_tokens=81, temperature=0.0))
    short = Request(
        id="short",
        prompt=[4, 5],
        seeds=range(10),
        sampling=Sampling(max_new_tokens=6, temperature=1.0),
    )
    order = [sample.request_id for sample in engine.run([long, short])]
    assert order == ["short"] * 10 + ["long"]
    assert engine.stats().steps == 80
    assert engine.stats().prompts == 2


def test_unrolled_layers_sample_what_scanned_ones_do(tiny, mixed):
    config, params = tiny("dec", VOCABULARY)
    unrolled = dataclasses.replace(config, scan_layers=False)
    engine = Engine(models.to_layout(params, unrolled), unrolled, rows=3, eos_ids=())
    assert_same_samples(_by_seed(engine, _requests()), mixed("dec")[0])


@pytest.mark.parametrize("kind", KINDS)
def test_ends_at_any_end_token_and_where_a_rule_says(tiny, mixed, kind):
    config, params = tiny(kind, VOCABULARY)
    free = mixed(kind)[0]
    eos_ids = (7, 11)

    def stop(tokens):
        return next((place for place, token in enumerate(tokens) if token == 13), None)

    engine = Engine(params, config, rows=3, eos_ids=eos_ids)
    requests = [dataclasses.replace(request, stop=stop) for request in _requests()]
    reasons = set()
    for key, sample in _by_seed(engine, requests).items():
        text = free[key].tokens
        ends = [(len(text), "length")]
        ends += [(place, "stop") for place, token in enumerate(text) if token == 13]
        ends += [(place + 1, "eos") for place, token in enumerate(text) if token in eos_ids]
        length, reason = min(ends)
        if reason == "length" and text[-1] in eos_ids:
            reason = "eos"
        assert (len(sample.tokens), sample.finish_reason) == (length, reason)
        assert sample.tokens == text[:length]
        assert len(sample.logprobs) == length
        reasons.add(reason)
    assert reasons >= {"stop", "eos"}


def test_a_window_needs_no_more_slots_than_it_is_wide(tiny):
    config, params = tiny("dec", VOCABULARY)
    config = dataclasses.replace(config, attention_window=10)
    engine = Engine(params, config, rows=2, eos_ids=())
    request = Request(
        id=0, prompt=list(range(2, 30)), seeds=[1, 2], sampling=Sampling(max_new_tokens=130)
    )
    compiled = []
    for sample in engine.run([request]):
        expected = _reference(config, params, request.prompt, sample.tokens)
        places = np.arange(len(sample.tokens))
        np.testing.assert_allclose(
            sample.logprobs, expected[places, list(sample.tokens)], atol=1e-4
        )
        compiled.append(engine.stats().compiled)
    assert compiled == [4, 4]  # reading, making rows, placing, stepping; no cache of another size


def test_few_programs_are_compiled(tiny):
    config, params = tiny("dec", VOCABULARY)
    engine = Engine(params, config, rows=2, eos_ids=())
    list(engine.run(_requests(12, longest=30, most_new=60)))
    list(engine.run(_requests(5, longest=20, most_new=40)))
    # Reading one prompt or two, making rows, placing from either, stepping.
    assert engine.stats().compiled == 6


def test_a_penalty_keeps_tokens_from_coming_again(tiny):
    config, params = tiny("dec", VOCABULARY)
    request = Request(
        id=0,
        prompt=[5, 6, 7],
        sampling=Sampling(max_new_tokens=20, temperature=0.0, repetition_penalty=1e5),
    )
    plain = Request(id=1, prompt=[8], sampling=Sampling(max_new_tokens=30, temperature=0.0))
    engine = Engine(params, config, rows=2, eos_ids=())
    samples = {sample.request_id: sample for sample in engine.run([plain, request])}
    tokens = list(samples[0].tokens)
    seen = set(request.prompt)
    for token in tokens:
        assert token not in seen
        seen.add(token)
    [alone] = Engine(params, config, rows=1, eos_ids=()).run([plain])
    assert alone.tokens == samples[1].tokens


def test_a_penalty_counts_no_token_of_other_rows(tiny):
    """Others begin beside a sample that may repeat no token, at every second of its steps."""
    config, params = tiny("dec", VOCABULARY)
    penalty = Sampling(max_new_tokens=25, temperature=0.0, repetition_penalty=1e5)
    request = Request(id="long", prompt=[5, 6, 7], sampling=penalty)
    short = Sampling(max_new_tokens=2, temperature=0.0)
    others = [Request(id=number, prompt=[8 + number], sampling=short) for number in range(12)]
    engine = Engine(params, config, rows=2, eos_ids=(), steps_per_call=1)
    beside = {sample.request_id: sample for sample in engine.run([request, *others])}
    [alone] = Engine(params, config, rows=1, eos_ids=()).run([request])
    assert beside["long"].tokens == alone.tokens


def test_a_sample_that_repeats_itself_is_ended(tiny):
    config, params = tiny("dec", VOCABULARY)
    params = jax.tree.map(jnp.zeros_like, params)  # all logits alike: greedy takes 0 for ever
    sampling = Sampling(max_new_tokens=100, temperature=0.0, max_repeats=7)
    [sample] = Engine(params, config, rows=1).run([Request(id=0, prompt=[3], sampling=sampling)])
    assert (sample.tokens, sample.finish_reason) == ((0,) * 7, "repetition")


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"prompt": []}, "request 'x': the prompt is empty"),
        ({"prompt": [3] * 9}, "request 'x': the prompt has 9 tokens, the limit is 8"),
        ({"prompt": [3, 40]}, "request 'x': token 40 is not among the model's 40"),
        ({"prompt": [-1, 3]}, "request 'x': token -1 is not among"),
        ({"prompt": [3], "seeds": [-1]}, "request 'x': seed -1 is not in 0 to"),
    ],
)
def test_refuses_requests_by_name(tiny, request_, message):
    config, params = tiny("dec", VOCABULARY)
    engine = Engine(params, config, max_prompt_tokens=8)
    with pytest.raises(UserError, match=message):
        list(engine.run([Request(id="x", **request_)]))


def test_refuses_more_tokens_than_there_are_positions():
    config = models.DecoderOnlyConfig(
        vocab_size=8,
        embed_dim=8,
        num_heads=1,
        head_dim=8,
        mlp_dim=8,
        num_layers=1,
        position="learned",
        max_positions=16,
    )
    engine = Engine(models.init(jax.random.key(0), config), config)
    assert engine.max_prompt_tokens == 16
    request = Request(id=5, prompt=[1] * 10, sampling=Sampling(max_new_tokens=7))
    with pytest.raises(
        UserError, match=r"request 5: prompt \(10\) and max_new_tokens \(7\) exceed"
    ):
        list(engine.run([request]))


@pytest.mark.parametrize(
    "arguments",
    [{"rows": 0}, {"num_candidates": 41}, {"steps_per_call": 0}, {"max_prompt_tokens": 0}],
    ids=str,
)
def test_refuses_arguments_that_make_no_sense(tiny, arguments):
    config, params = tiny("dec", VOCABULARY)
    with pytest.raises(UserError, match=f"Engine: .*{next(iter(arguments))}"):
        Engine(params, config, **arguments)
