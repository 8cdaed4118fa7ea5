"""Prompts that share a prefix give the samples that they give when each is worked on whole."""

import dataclasses
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from same_samples import assert_same_samples

from tlm_jax import models
from tlm_jax.checkpoints.loading import load_params
from tlm_jax.checkpoints.pretrained import open_pretrained
from tlm_jax.decoding import placing
from tlm_jax.decoding import prompts as reading
from tlm_jax.decoding import rows as device
from tlm_jax.decoding.common_prefixes import common_prefixes
from tlm_jax.decoding.engine import Engine
from tlm_jax.decoding.requests import Request, Sampling
from tlm_jax.errors import UserError
from tlm_jax.models.cache import layer_slots
from tlm_jax.sharding import rules
from tlm_jax.sharding.mesh import MeshShape, make_mesh

VOCABULARY = 40
GOLDEN = Path(__file__).parents[1] / "golden" / "hf"
FAMILIES = sorted(path.parent.name for path in GOLDEN.glob("*/config.json"))
WINDOWS = {"attention_window": 9, "windowed_layers": (True, False), "num_layers": 2}
LEARNED = {"position": "learned", "max_positions": 160, "num_kv_heads": 2}


def _model(tiny, kind="dec"):
    config, params = tiny("encdec" if kind == "encdec" else "dec", VOCABULARY)
    changes = {"window": WINDOWS, "learned": LEARNED, "prefix_lm": {"prefix_lm": True}}
    if kind in changes:
        config = dataclasses.replace(config, **changes[kind])
        params = models.init(jax.random.key(1), config)
        params["decoder"]["logits_dense"]["kernel"] *= 4
    return config, params


def _requests(seed=0, number=14, vocabulary=VOCABULARY, **settings):
    """Returns requests with one of two beginnings or none, of every kind of sampling."""
    rng = np.random.default_rng(seed)

    def draw(low, high):
        return rng.integers(2, vocabulary, rng.integers(low, high)).tolist()

    first, second = draw(40, 75), draw(33, 40)
    beginnings = [first, first + second, second, []]
    return [
        Request(
            id=index,
            prompt=[*beginnings[rng.integers(len(beginnings))], *draw(1, 6)],
            seeds=[100 * index + seed for seed in range(rng.integers(1, 4))],
            sampling=Sampling(
                **{
                    "max_new_tokens": int(rng.integers(1, 30)),
                    "temperature": (index % 3) / 2,
                    "top_k": (index % 4) * 3,
                    "top_p": 0.9 if index % 2 else 1.0,
                    "repetition_penalty": 1.3 if index % 5 == 1 else 1.0,
                    **settings,
                }
            ),
        )
        for index in range(number)
    ]


def _found(requests, rows=1):
    return common_prefixes([request.prompt for request in requests], rows)


def _samples(engine, requests, prefixes=()):
    samples = {
        (sample.request_id, sample.index): sample for sample in engine.run(requests, prefixes)
    }
    assert sorted(samples) == [(r.id, n) for r in requests for n in range(len(r.seeds))]
    return samples


@pytest.fixture(scope="module")
def engines(tiny):
    """Returns an engine of five rows, and one that decodes a sample at a time."""
    config, params = _model(tiny)
    return (
        Engine(params, config, rows=5, eos_ids=(7,), steps_per_call=4),
        Engine(params, config, rows=1, eos_ids=(7,)),
    )


@pytest.mark.parametrize("seed", range(6))
def test_random_prompts_with_random_prefixes(engines, seed):
    together, alone = engines
    requests = _requests(seed)
    prefixes = _found(requests)
    assert prefixes
    assert_same_samples(_samples(together, requests, prefixes), _samples(alone, requests))


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_of_models(family):
    """Greedy and drawn tokens are the same, log-probabilities too; EncDec models use no prefix."""
    pretrained = open_pretrained(GOLDEN / family)
    config = pretrained.config
    params = load_params(pretrained, config, announce=lambda line: None)
    rng = np.random.default_rng(1)
    shared = rng.integers(3, config.vocab_size, 14).tolist()
    requests = [
        Request(
            id=index,
            prompt=[*shared, *rng.integers(3, config.vocab_size, 1 + index).tolist()],
            sampling=Sampling(max_new_tokens=9, temperature=float(index % 2)),
        )
        for index in range(3)
    ]
    engine = Engine(params, config, rows=3, eos_ids=())
    expected = _samples(engine, requests)
    assert engine.stats().reused_tokens == 0
    assert_same_samples(_samples(engine, requests, [shared]), expected)
    assert engine.stats().reused_tokens == (0 if config.is_encoder_decoder else 2 * len(shared))


@pytest.mark.parametrize("kind", ["window", "learned"])
def test_windows_learned_positions_and_shared_heads(tiny, kind):
    config, params = _model(tiny, kind)
    requests = _requests(2, number=8)
    prefixes = _found(requests)
    assert prefixes
    engine = Engine(params, config, rows=4, eos_ids=())
    assert_same_samples(_samples(engine, requests, prefixes), _samples(engine, requests))


@pytest.mark.parametrize("kind", ["encdec", "prefix_lm"])
def test_models_whose_prompts_are_read_both_ways_use_none(tiny, kind):
    config, params = _model(tiny, kind)
    requests = _requests(0, number=3)
    engine = Engine(params, config, rows=2, eos_ids=())
    expected = _samples(engine, requests)
    assert_same_samples(_samples(engine, requests, [requests[0].prompt[:-1]]), expected)
    stats = engine.stats()
    assert stats.reused_tokens == 0
    assert stats.prompt_tokens == 2 * sum(len(request.prompt) for request in requests)


def test_on_a_mesh(tiny, engines):
    config, params = _model(tiny)
    mesh = make_mesh(MeshShape(2, 2, 2))
    shardings = rules.named_shardings(models.logical_axes(config), mesh, shapes=params)
    split = Engine(jax.device_put(params, shardings), config, rows=8, eos_ids=(7,), mesh=mesh)
    requests = _requests(1)
    assert_same_samples(_samples(split, requests, _found(requests)), _samples(engines[1], requests))


def test_tokens_that_were_worked_on_and_used_again(tiny):
    config, params = _model(tiny)
    engine = Engine(params, config, rows=2, eos_ids=())
    prompts = [[*range(2, 12), 20 + index] for index in range(5)] + [[3, 4]]
    sampling = Sampling(max_new_tokens=2)
    requests = [
        Request(id=n, prompt=p, seeds=[0, 1], sampling=sampling) for n, p in enumerate(prompts)
    ]
    assert len(list(engine.run(requests, [range(2, 12)]))) == 12
    stats = engine.stats()
    assert (stats.prompts, stats.prompt_tokens, stats.reused_tokens) == (6, 10 + 5 + 2, 4 * 10)


def test_few_programs(tiny):
    config, params = _model(tiny)
    engine = Engine(params, config, rows=2, eos_ids=())
    for length in (33, 40, 60, 64):
        prompts = [[2] * length + [10 + index] for index in range(4)]
        requests = [
            Request(id=n, prompt=prompt, sampling=Sampling(max_new_tokens=4))
            for n, prompt in enumerate(prompts)
        ]
        assert len(list(engine.run(requests, [[2] * length]))) == 4
        if length == 33:
            compiled = engine.stats().compiled
    assert engine.stats().compiled == compiled


def test_limits_are_those_of_the_whole_prompt(tiny):
    config, params = _model(tiny, "learned")
    shared = [3] * 132
    engine = Engine(params, config, rows=2, eos_ids=(), max_prompt_tokens=135)
    fits = [
        Request(id=n, prompt=[*shared, 4 + n, 5, 6], sampling=Sampling(max_new_tokens=25))
        for n in range(2)
    ]
    assert_same_samples(_samples(engine, fits, [shared]), _samples(engine, fits))
    long = Request(id="long", prompt=[*shared, 4, 5, 6, 7])
    with pytest.raises(UserError, match=r"request 'long': the prompt has 136 tokens, the limit is"):
        list(engine.run([long], [shared]))
    room = Request(id="room", prompt=fits[0].prompt, sampling=Sampling(max_new_tokens=26))
    with pytest.raises(UserError, match=r"prompt \(135\) and max_new_tokens \(26\) exceed"):
        list(engine.run([room], [shared]))


def test_steps_read_one_copy(tiny):
    """No step copies the prefix, or has one for each row."""
    config, params = _model(tiny)
    params, config = models.unroll_layers(params, config)
    shared = {name: jnp.ones((1, 80), jnp.int32) for name in _NAMES}
    own = {name: jnp.ones((6, 24), jnp.int32) for name in _NAMES}
    before = jax.eval_shape(lambda batch: reading.read_prefix(params, batch, config), shared)
    prompts = jax.eval_shape(
        lambda batch, before: reading.read_prompts(params, batch, config, before), own, before
    )
    names = layer_slots(config)
    room = placing.Room(prompt=24, window=0, generated=(("every", 48),))
    state = jax.eval_shape(lambda made: placing.empty(made, 6, 6, room, names), prompts)

    def steps(params, state, prefix, first):
        return device.steps(params, state, {"every": first}, first, first, config, (), 0, 4, prefix)

    lowered = jax.jit(steps, donate_argnums=1).lower(params, state, before.prefix, jnp.int32(0))
    text = lowered.compile().as_text()
    assert "f32[1,4,80,4]" in text
    assert not re.findall(r"= f32\[1,4,80,4\]\S* copy\(", text)
    assert "f32[6,4,80,4]" not in text


_NAMES = ("decoder_input_tokens", "decoder_causal_attention")
