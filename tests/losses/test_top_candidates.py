"""Top candidates and their tail against a dense float64 softmax."""

import jax
import numpy as np
import pytest

from tlm_jax.losses.top_candidates import top_candidates
from tlm_jax.types import Unembedding

ROWS, LENGTH, WIDTH, TOKENS = 3, 5, 4, 11


@pytest.fixture(scope="module")
def case():
    keys = jax.random.split(jax.random.key(0), 3)
    head = Unembedding(
        3.0 * jax.random.normal(keys[0], (WIDTH, TOKENS)),
        scale=0.5,
        bias=jax.random.normal(keys[1], (TOKENS,)),
    )
    return jax.random.normal(keys[2], (ROWS, LENGTH, WIDTH)), head


@pytest.mark.parametrize("chunk_tokens", [3, 6, 512])
@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_candidates_and_tail_are_those_of_the_whole_softmax(case, chunk_tokens, temperature):
    hidden, head = case
    weights = jax.numpy.ones((ROWS, LENGTH))
    found = top_candidates(
        hidden, head, weights, 4, temperature=temperature, chunk_tokens=chunk_tokens
    )
    logits = np.asarray(head.logits(hidden), np.float64) / temperature
    p = np.exp(logits - logits.max(-1, keepdims=True))
    p /= p.sum(-1, keepdims=True)
    order = np.argsort(-p, axis=-1)
    np.testing.assert_array_equal(found.token_ids, order[..., :4])
    kept = np.take_along_axis(p, order, axis=-1)
    np.testing.assert_allclose(np.exp(found.logprobs), kept[..., :4], rtol=1e-5)
    np.testing.assert_allclose(np.exp(found.tail_logprobs), kept[..., 4:].sum(-1), rtol=1e-5)


def test_a_whole_vocabulary_has_no_tail(case):
    hidden, head = case
    found = top_candidates(hidden, head, jax.numpy.ones((ROWS, LENGTH)), 99)
    assert found.token_ids.shape[-1] == TOKENS
    assert np.isneginf(found.tail_logprobs).all()
