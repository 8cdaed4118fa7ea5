"""Matching of hidden states and attention by hand, against NumPy, and with padding."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tlm_jax.errors import UserError
from tlm_jax.losses.matching import (
    Matching,
    init_projections,
    match_attention,
    match_hidden_states,
    projection_axes,
)
from tlm_jax.losses.universal import sorted_l1

L, M, B, T, S, D, E, N, P = 2, 3, 2, 4, 5, 6, 8, 2, 3


def case(seed=0):
    keys = jax.random.split(jax.random.key(seed), 5)
    states = jax.random.normal(keys[0], (L, B, T, D)), jax.random.normal(keys[1], (M, B, T, E))
    attention = (
        jax.nn.softmax(jax.random.normal(keys[2], (L, B, N, T, S))),
        jax.nn.softmax(jax.random.normal(keys[3], (M, B, P, T, S))),
    )
    weights = jnp.array([[1.0, 2, 1, 0], [1, 1, 0, 0]])
    sources = jnp.array([[1.0, 1, 1, 1, 0], [1, 1, 1, 0, 0]])
    return states, attention, weights, sources


def numpy_apart(measure, x, y, size):
    if measure == "mse":
        return ((x - y) ** 2).sum(-1) / size
    return 1 - (x * y).sum(-1) / np.linalg.norm(x, axis=-1) / np.linalg.norm(y, axis=-1)


@pytest.mark.parametrize("measure", ["mse", "cosine"])
def test_agrees_with_numpy(measure):
    (x, y), (a, b), weights, sources = case()
    matching = Matching(((0, 1), (-1, 2)), measure)
    states = init_projections(jax.random.key(1), matching, student_size=D, teacher_size=E)
    heads = init_projections(jax.random.key(2), matching, student_size=N, teacher_size=P)
    assert states.keys() == heads.keys() == projection_axes(matching).keys()
    real, expected = np.asarray(sources)[:, None, None], [0.0, 0.0]
    for name, (own, its) in zip(matching.names, matching.layers):
        projected = np.asarray(x[own], np.float64) @ np.asarray(states[name])
        expected[0] += numpy_apart(measure, projected, np.asarray(y[its]), E) / 2
        mixed = np.einsum("bnts,np->bpts", a[own], heads[name]) * real
        each = numpy_apart(measure, mixed, np.asarray(b[its]) * real, real.sum(-1))
        expected[1] += each.mean(1) / 2
    outputs = (
        match_hidden_states(states, x, y, weights, matching),
        match_attention(heads, a, b, weights, sources, matching),
    )
    for output, token in zip(outputs, expected):
        total = (token * np.asarray(weights)).sum()
        np.testing.assert_allclose(output.loss.total, total, rtol=1e-5)
        assert float(output.loss.weight) == 6


def test_the_right_projection_matches_exactly():
    (x, _), _, weights, _ = case()
    kernel = jax.random.normal(jax.random.key(3), (D, E))
    teacher = jnp.einsum("lbtd,de->lbte", x, kernel)
    for measure in ("mse", "cosine"):
        matching = Matching(((1, 1),), measure)
        output = match_hidden_states({"1_to_1": kernel}, x, teacher, weights, matching)
        assert float(output.loss.total) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("measure", ["mse", "cosine"])
def test_padding_and_teacher_get_no_gradient(measure):
    (x, y), (a, b), weights, sources = case()
    matching = Matching(((0, 0),), measure)
    states = init_projections(jax.random.key(1), matching, student_size=D, teacher_size=E)
    heads = init_projections(jax.random.key(2), matching, student_size=N, teacher_size=P)

    def loss(states, heads, x, y, a, b):
        hidden = match_hidden_states(states, x, y, weights, matching)
        return (hidden.loss + match_attention(heads, a, b, weights, sources, matching).loss).mean()

    x = x.at[:, 1, 2:].set(0.0)  # a zero vector has a cosine all the same
    d_states, d_heads, dx, dy, da, db = jax.grad(loss, argnums=tuple(range(6)))(
        states, heads, x, y, a, b
    )
    for gradient in (d_states, d_heads, dx, da):
        assert all(np.isfinite(g).all() and np.asarray(g).any() for g in jax.tree.leaves(gradient))
    assert not np.asarray(dy).any()
    assert not np.asarray(db).any()
    assert not np.asarray(dx[:, weights == 0]).any()
    assert not np.asarray(da[..., -1]).any()


def test_bad_settings_are_told():
    with pytest.raises(UserError, match="Did you mean 'cosine'"):
        Matching(((0, 0),), "cosin")
    with pytest.raises(UserError, match="names no layers"):
        Matching(())
    (x, y), _, weights, _ = case()
    with pytest.raises(UserError, match="layer 3 of the teacher, which has 3"):
        match_hidden_states({}, x, y, weights, Matching(((0, 3),)))


def test_sorted_l1_by_hand_and_against_trl(shared_dir):
    teacher, student = jnp.log(jnp.array([[0.6, 0.1, 0.3]])), jnp.log(jnp.array([[0.5, 0.5]]))
    assert float(sorted_l1(teacher, student)[0]) == pytest.approx(0.1 + 0.2 + 0.1)
    arrays = np.load(shared_dir / "fixtures/hf/losses/reference.npz")
    counted = jnp.asarray(arrays["labels"] >= 0, jnp.float32)

    def mean(student):
        apart = sorted_l1(jnp.asarray(arrays["teacher_logits"]), student)
        return jnp.sum(apart * counted) / jnp.sum(counted)

    value, gradient = jax.value_and_grad(mean)(jnp.asarray(arrays["student_logits"]))
    np.testing.assert_allclose(value, arrays["loss/uld_sorted_l1_mean"], rtol=1e-6)
    expected = arrays["grad/uld_sorted_l1_mean"]
    np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-7)
