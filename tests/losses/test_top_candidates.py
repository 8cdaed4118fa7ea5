"""Top candidates and their tail against a dense float64 softmax."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from tlm_jax.losses.top_candidates import most_probable, top_candidates
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
    weights = jnp.ones((ROWS, LENGTH))
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
    found = top_candidates(hidden, head, jnp.ones((ROWS, LENGTH)), 99)
    assert found.token_ids.shape[-1] == TOKENS
    assert np.isneginf(found.tail_logprobs).all()


def test_the_vocabulary_is_not_sorted():
    """XLA would, where it sees that a part of the candidates is sliced off: 30 times the cost."""
    find = jax.jit(lambda logits: most_probable(logits, 4, num_ids=2048))
    text = find.lower(jnp.zeros((2, 8, 2048))).compile().as_text()
    assert "TopK" in text
    assert " sort(" not in text


def test_more_candidates_than_a_shard_has_tokens():
    """Of a padded vocabulary in two parts: XLA crashed where one barrier took the pair."""
    mesh = Mesh(np.asarray(jax.devices()[:2]), ("tensor",))
    logits = jax.random.normal(jax.random.key(0), (1, 2, 128))
    find = jax.jit(
        lambda logits: most_probable(logits, 104, num_ids=104, vocab_shards=2),
        in_shardings=NamedSharding(mesh, PartitionSpec(None, None, "tensor")),
    )
    order = np.argsort(-np.asarray(logits)[..., :104], axis=-1)
    np.testing.assert_array_equal(find(logits).ids, order)


@pytest.mark.parametrize("shards", [1, 4])
def test_equal_logits_are_counted_once(shards):
    logits = jnp.asarray([[[1.0, 2.0, 1.0, 1.0, 0.0, 1.0, -3.0, 1.0]]])
    found = most_probable(logits, 2, num_ids=8, vocab_shards=shards)
    assert found.ids.tolist() == [[[1, 0]]]
    sums = jnp.exp(found.logprobs).sum(-1) + jnp.exp(found.tail_logprobs)
    np.testing.assert_allclose(sums, 1, rtol=1e-6)


def test_a_small_tail_keeps_its_digits():
    logits = jnp.asarray([[[40.0, 0.0, -1.0]]])
    found = most_probable(logits, 1, num_ids=3)
    expected = np.log(np.exp(-40.0) + np.exp(-41.0))
    np.testing.assert_allclose(found.tail_logprobs, [[expected]], rtol=1e-6)
