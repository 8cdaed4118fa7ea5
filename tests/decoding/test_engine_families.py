"""Cached decoding of every family of models equals its forward pass without a cache."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tlm_jax import models
from tlm_jax.checkpoints.loading import load_params
from tlm_jax.checkpoints.pretrained import open_pretrained
from tlm_jax.decoding.engine import Engine
from tlm_jax.decoding.requests import Request, Sampling

GOLDEN = Path(__file__).parents[1] / "golden" / "hf"
FAMILIES = sorted(path.parent.name for path in GOLDEN.glob("*/config.json"))
PROMPTS = ([5, 17, 80, 33, 9, 64, 21, 90, 4, 11, 12], [3, 44, 7])
NEW_TOKENS = 20


def test_there_are_families():
    assert len(FAMILIES) >= 11


@pytest.mark.parametrize("family", FAMILIES)
def test_cached_decoding_is_the_full_forward_pass(family):
    pretrained = open_pretrained(GOLDEN / family)
    config = pretrained.config
    params = load_params(pretrained, config, announce=lambda line: None)
    engine = Engine(params, config, rows=2, eos_ids=())
    sampling = Sampling(max_new_tokens=NEW_TOKENS, temperature=1.0)
    samples = engine.run(
        [Request(id=row, prompt=prompt, sampling=sampling) for row, prompt in enumerate(PROMPTS)]
    )
    samples = sorted(samples, key=lambda sample: sample.request_id)
    batch, starts = _forced(config, [sample.tokens for sample in samples])
    logits = jax.jit(models.logits, static_argnames="config")(params, batch, config=config)
    logprobs = np.asarray(jax.nn.log_softmax(logits))
    for row, (sample, start) in enumerate(zip(samples, starts)):
        places = start + np.arange(NEW_TOKENS)
        expected = logprobs[row, places, list(sample.tokens)]
        np.testing.assert_allclose(sample.logprobs, expected, atol=1e-4)


def _forced(config, texts):
    """Returns a batch of prompts and texts, and the place in each row that predicts the first."""
    if isinstance(config, models.EncoderDecoderConfig):
        rows = [[0, *text[:-1]] for text in texts]
        starts = [0] * len(rows)
        encoder = {"encoder_input_tokens": _padded(PROMPTS)}
    else:
        rows = [[*prompt, *text[:-1]] for prompt, text in zip(PROMPTS, texts)]
        starts = [len(prompt) - 1 for prompt in PROMPTS]
        encoder = {}
    inputs = _padded(rows)
    return encoder | {
        "decoder_input_tokens": inputs,
        "decoder_target_tokens": jnp.ones_like(inputs),
    }, starts


def _padded(rows):
    longest = max(map(len, rows))
    return jnp.asarray([[*row, *[0] * (longest - len(row))] for row in rows], jnp.int32)
