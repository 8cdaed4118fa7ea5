"""Candidates' log-probabilities and the tail against float64, at the edges, and sharded."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from tlm_jax.losses.candidates import candidate_log_probabilities

T, V, C = 5, 23, 4


def example(seed=0, spread=3.0):
    random = np.random.default_rng(seed)
    logits = spread * random.normal(size=(T, V))
    ids = np.stack([random.permutation(V)[:C] for _ in range(T)])
    present = np.arange(C) < np.array([C, 3, 1, C, 0])[:, None]
    return logits, ids, present


def reference(logits, ids, present, temperature):
    """log q of candidates and tail in float64, tokens by a mask over the whole vocabulary."""
    x = np.asarray(logits, np.float64) / temperature
    q = np.exp(x - x.max(-1, keepdims=True))
    q /= q.sum(-1, keepdims=True)
    with np.errstate(divide="ignore"):
        at_ids = np.where(present, np.log(np.take_along_axis(q, ids, -1)), -np.inf)
        chosen = ((np.arange(V) == ids[..., None]) & present[..., None]).any(1)
        return at_ids, np.log(np.where(chosen, 0, q).sum(-1))


def ours(logits, ids, present, temperature=1.0):
    return candidate_log_probabilities(
        jnp.asarray(logits, jnp.float32),
        jnp.asarray(ids, jnp.int32),
        jnp.asarray(present),
        temperature=temperature,
    )


@pytest.mark.parametrize("temperature", [1.0, 2.5])
@pytest.mark.parametrize("spread", [0.1, 3.0, 40.0])
def test_values_agree_with_float64(temperature, spread):
    case = example(spread=spread)
    for got, expected in zip(ours(*case, temperature), reference(*case, temperature)):
        np.testing.assert_allclose(got, expected, rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_gradients_agree_with_finite_differences_in_float64(temperature):
    logits, ids, present = example()
    random = np.random.default_rng(1)
    g, h = random.normal(size=(T, C)), random.normal(size=T)

    def total(x):
        log_q, log_tail = reference(x, ids, present, temperature)
        return (np.where(present, log_q, 0) * g).sum(-1) + log_tail * h

    expected = np.stack(
        [(total(logits + e) - total(logits - e)) / 2e-6 for e in 1e-6 * np.eye(V)], axis=-1
    )

    def loss(x):
        log_q, log_tail = ours(x, ids, present, temperature)
        g32, h32 = jnp.asarray(g, jnp.float32), jnp.asarray(h, jnp.float32)
        return jnp.sum(jnp.where(present, log_q, 0) * g32) + jnp.sum(log_tail * h32)

    gradient = jax.grad(loss)(jnp.asarray(logits, jnp.float32))
    np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=2e-6)


def test_a_tail_too_small_for_one_minus_is_exact():
    logits = np.full((1, V), -60.0)
    logits[0, :2] = [0.0, 1.0]
    log_q, log_tail = ours(logits, np.array([[0, 1]]), np.ones((1, 2), bool))
    expected = np.log(V - 2) - 60 - np.log(1 + np.e)
    assert float(log_tail[0]) == pytest.approx(expected, rel=1e-6)
    assert float(1 - jnp.exp(log_q).sum()) == pytest.approx(0, abs=1e-6)
    logits[0, 2:] = -200.0  # below what float32's exp can tell from 0
    assert float(ours(logits, np.array([[0, 1]]), np.ones((1, 2), bool))[1][0]) == pytest.approx(
        np.log(V - 2) - 200 - np.log(1 + np.e), rel=1e-6
    )


def test_masses_add_up_to_one():
    log_q, log_tail = ours(*example())
    np.testing.assert_allclose(jnp.exp(log_q).sum(-1) + jnp.exp(log_tail), 1, rtol=1e-6)


def test_padding_leaves_its_id_in_the_tail():
    logits, _, _ = example()
    ids = np.array([[7, 0]] * T)
    alone = ours(logits, ids[:, :1], np.ones((T, 1), bool))
    padded = ours(logits, ids, np.array([[True, False]] * T))
    np.testing.assert_array_equal(alone[1], padded[1])
    assert np.isneginf(padded[0][:, 1]).all()


def test_all_tokens_as_candidates_leave_no_tail():
    logits, _, _ = example()
    ids = np.tile(np.arange(V), (T, 1))

    def loss(x):
        log_q, log_tail = ours(x, ids, np.ones((T, V), bool))
        return -jnp.sum(log_q[:, 3]) + jnp.sum(jnp.exp(log_tail))

    value, gradient = jax.value_and_grad(loss)(jnp.asarray(logits, jnp.float32))
    log_q = jax.nn.log_softmax(jnp.asarray(logits, jnp.float32))
    assert float(value) == pytest.approx(-float(log_q[:, 3].sum()), rel=1e-6)
    np.testing.assert_allclose(gradient, np.exp(log_q) - (np.arange(V) == 3), atol=1e-6)


def test_large_logits_keep_their_digits():
    logits = np.array([[1e6, 1e6 + 1, 1e6 - 1, 1e6]])
    log_q, log_tail = ours(logits, np.array([[0, 1]]), np.ones((1, 2), bool))
    sizes = np.exp([0.0, 1.0, -1.0, 0.0])
    np.testing.assert_allclose(log_q[0], np.log(sizes[:2] / sizes.sum()), rtol=1e-6)
    assert float(log_tail[0]) == pytest.approx(np.log(sizes[2:].sum() / sizes.sum()), rel=1e-6)


def test_impossible_tokens_have_finite_gradients():
    logits, ids, present = example()
    logits[:, ids[0, 0]] = -np.inf
    logits[:, (ids[0, 0] + 1) % V] = -np.inf

    def loss(x):
        log_q, log_tail = ours(x, ids, present)
        return jnp.sum(jnp.maximum(log_q, -1e9)) + jnp.sum(log_tail)

    assert np.isfinite(jax.grad(loss)(jnp.asarray(logits, jnp.float32))).all()


def test_each_device_looks_up_and_replaces_in_its_own_part_of_the_vocabulary():
    rows, length, vocabulary = 8, 16, 512
    mesh = Mesh(np.asarray(jax.devices()[:8]).reshape(4, 2), ("data", "tensor"))
    split = NamedSharding(mesh, P("data", None, "tensor"))
    by_rows = NamedSharding(mesh, P("data"))
    keys = jax.random.split(jax.random.key(0), 2)
    logits = jax.random.normal(keys[0], (rows, length, vocabulary))
    ids = jax.random.permutation(keys[1], vocabulary).reshape(rows, length, C)

    def gradient(logits, ids):
        def loss(logits):
            log_q, log_tail = candidate_log_probabilities(logits, ids, ids >= 0)
            return jnp.sum(log_q) + jnp.sum(log_tail)

        return jax.grad(loss)(logits)

    step = jax.jit(gradient, in_shardings=(split, by_rows), out_shardings=split)
    text = step.lower(logits, ids).compile().as_text()
    assert not re.search(r" (all-gather|all-to-all|collective-permute)(-start)?\(", text)
    assert re.search(r"f32\[2,16,256\]", text)
    assert not re.search(r"f32\[\d+,\d+,512\]", text)
    split_ids = jax.device_put(ids, by_rows)
    got = step(jax.device_put(logits, split), split_ids)
    np.testing.assert_allclose(got, jax.jit(gradient)(logits, ids), atol=1e-6)
