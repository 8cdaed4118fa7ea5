"""Rows that share a prompt sample what they would alone, and steps change caches in place."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tlm_jax import models
from tlm_jax.decoding import placing
from tlm_jax.decoding import prompts as reading
from tlm_jax.decoding import rows as device
from tlm_jax.decoding.engine import Engine
from tlm_jax.decoding.requests import Request, Sampling
from tlm_jax.models.cache import WINDOW, layer_slots
from tlm_jax.sharding import rules
from tlm_jax.sharding.mesh import MeshShape, make_mesh

VOCABULARY = 40
WINDOWS = {"attention_window": 9, "windowed_layers": (True, False), "num_layers": 2}


def _model(tiny, kind):
    """Returns a tiny model; that of kind `window` has a window in one of two layers."""
    config, params = tiny("encdec" if kind == "encdec" else "dec", VOCABULARY)
    if kind == "window":
        config = dataclasses.replace(config, **WINDOWS)
        params = models.init(jax.random.key(1), config)
        params["decoder"]["logits_dense"]["kernel"] *= 4
    return config, params


def _requests():
    rng = np.random.default_rng(3)
    return [
        Request(
            id=index,
            prompt=rng.integers(2, VOCABULARY, length).tolist(),
            seeds=[100 * index + seed for seed in range(samples)],
            sampling=Sampling(max_new_tokens=new, temperature=1.0),
        )
        for index, (length, samples, new) in enumerate([(20, 8, 12), (7, 9, 9), (13, 12, 15)])
    ]


@pytest.mark.parametrize("kind", ["encdec", "dec", "window"])
def test_samples_that_share_a_prompt_are_those_alone(tiny, kind):
    """29 samples of three prompts in eight rows: four groups of two, each filled several times."""
    config, params = _model(tiny, kind)
    requests = _requests()
    together = Engine(params, config, rows=8, eos_ids=(7,), steps_per_call=5)
    alone = Engine(params, config, rows=1, eos_ids=(7,), steps_per_call=16)
    got = {sample.seed: sample for sample in together.run(requests)}
    assert len(got) == 29
    assert together.stats().prompts == 3
    for request in requests:
        some = dataclasses.replace(request, seeds=request.seeds[::4])
        for sample in alone.run([some]):
            same = got[sample.seed]
            assert (same.tokens, same.finish_reason) == (sample.tokens, sample.finish_reason)
            np.testing.assert_allclose(same.logprobs, sample.logprobs, atol=1e-5)


def test_rows_share_prompts_on_a_mesh(tiny):
    """Sixteen rows over four parts of the mesh: groups of two, none of them torn apart."""
    config, params = _model(tiny, "dec")
    mesh = make_mesh(MeshShape(2, 2, 2))
    shardings = rules.named_shardings(models.logical_axes(config), mesh, shapes=params)
    split = Engine(jax.device_put(params, shardings), config, rows=16, eos_ids=(), mesh=mesh)
    whole = Engine(params, config, rows=8, eos_ids=(7,), steps_per_call=5)
    got = {sample.seed: sample for sample in split.run(_requests())}
    for sample in whole.run(_requests()):
        number = len(sample.tokens)
        assert got[sample.seed].tokens[:number] == sample.tokens
        np.testing.assert_allclose(got[sample.seed].logprobs[:number], sample.logprobs, atol=1e-5)


def test_layers_with_a_window_keep_no_more_of_a_prompt(tiny):
    config, params = _model(tiny, "window")
    cache, _ = jax.eval_shape(
        lambda batch: models.prefill(params, batch, config, max_decode_steps=3),
        {"decoder_input_tokens": jnp.ones((2, 30), jnp.int32)},
    )
    windowed, other = cache.layers
    assert windowed.prompt_key.shape[2] == 9
    assert other.prompt_key.shape[2] == 30
    assert cache.slots[WINDOW].prompt_mask.shape == (2, 9)


@pytest.mark.parametrize("kind", ["encdec", "dec"])
def test_no_step_copies_a_cache(tiny, kind):
    config, params = tiny(kind, VOCABULARY)
    params, config = models.unroll_layers(params, config)
    tokens = jnp.ones((2, 24), jnp.int32)
    batch = {"decoder_input_tokens": tokens, "decoder_causal_attention": tokens}
    if kind == "encdec":
        batch = {"encoder_input_tokens": tokens, "decoder_input_tokens": tokens[:, :1]}
    prompts = jax.eval_shape(lambda batch: reading.read_prompts(params, batch, config), batch)
    names = layer_slots(config)
    generated = tuple((name, 48) for name in sorted(set(names)))
    room = placing.Room(prompt=24, window=0, generated=generated, cross=24)
    state = jax.eval_shape(lambda made: placing.empty(made, 6, 2, room, names), prompts)

    def steps(params, state, first):
        firsts = dict.fromkeys(set(names), first)
        return device.steps(params, state, firsts, first, first, config, (), 0, 4)

    program = jax.jit(steps, donate_argnums=1).lower(params, state, jnp.int32(0)).compile()
    text = program.as_text()
    assert "f32[6,4,48,4]" in text
    assert "f32[2,4,24,4]" in text
    assert not re.findall(r"= f32\[(?:6,4,48,4|2,4,24,4)\]\S* copy\(", text)
