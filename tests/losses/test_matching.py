"""Matching of hidden states and attention by hand, against NumPy, and with padding."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tlm_jax.errors import UserError
from tlm_jax.losses.matching import (
    Attention,
    HiddenStates,
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


def chosen(layers, student, teacher):
    """Returns the layers of each pair."""
    return [student[own] for own, _ in layers], [teacher[its] for _, its in layers]


def numpy_apart(measure, x, y, size):
    if measure == "mse":
        return ((x - y) ** 2).sum(-1) / size
    return 1 - (x * y).sum(-1) / np.linalg.norm(x, axis=-1) / np.linalg.norm(y, axis=-1)


@pytest.mark.parametrize("measure", ["mse", "cosine"])
def test_agrees_with_numpy(measure):
    (x, y), (a, b), weights, sources = case()
    layers = ((0, 1), (-1, 2))
    of_states, of_attention = HiddenStates(layers, measure), Attention(layers, measure)
    states = init_projections(jax.random.key(1), of_states, student_size=D, teacher_size=E)
    heads = init_projections(jax.random.key(2), of_attention, student_size=N, teacher_size=P)
    assert all((np.asarray(kernel) == 1 / N).all() for kernel in heads.values())
    noise = jax.random.normal(jax.random.key(4), (2, N, P))
    heads = {name: kernel + noise[i] for i, (name, kernel) in enumerate(heads.items())}
    assert states.keys() == heads.keys() == projection_axes(of_states).keys()
    real, expected = np.asarray(sources)[:, None, None], [0.0, 0.0]
    for name, (own, its) in zip(of_states.names, layers):
        projected = np.asarray(x[own], np.float64) @ np.asarray(states[name])
        expected[0] += numpy_apart(measure, projected, np.asarray(y[its]), E) / 2
        mixed = np.einsum("bnts,np->bpts", a[own], heads[name]) * real
        each = numpy_apart(measure, mixed, np.asarray(b[its]) * real, real.sum(-1))
        expected[1] += each.mean(1) / 2
    outputs = (
        match_hidden_states(states, *chosen(layers, x, y), weights, of_states),
        match_attention(heads, *chosen(layers, a, b), weights, sources[:, None], of_attention),
    )
    for output, token in zip(outputs, expected):
        total = (token * np.asarray(weights)).sum()
        np.testing.assert_allclose(output.loss.total, total, rtol=1e-5)
        assert float(output.loss.weight) == 6
    assert outputs[0].metrics.keys() == {"decoder_hidden_states_difference"}


def test_a_token_is_compared_over_the_sources_that_it_sees():
    """Of a packed row: tokens that see their own segment only, and what is before them there."""
    attention = np.zeros((1, 1, 3, 3), np.float32)
    attention[0, 0] = [[1, 0, 0], [0.25, 0.75, 0], [0, 0, 1]]
    teacher = np.zeros((1, 1, 3, 3), np.float32)
    teacher[0, 0] = [[1, 0, 0], [0.5, 0.5, 0], [0, 0, 1]]
    visible = jnp.asarray([[[1, 0, 0], [1, 1, 0], [0, 0, 1]]])
    matching, kernel = Attention(((0, 0),)), {"0_to_0": jnp.ones((1, 1))}
    arrays = [jnp.asarray(attention)], [jnp.asarray(teacher)]
    output = match_attention(kernel, *arrays, jnp.ones((1, 3)), visible, matching)
    assert float(output.loss.total) == pytest.approx((0.25**2 + 0.25**2) / 2)


def test_the_right_projection_matches_exactly():
    (x, _), _, weights, _ = case()
    kernel = jax.random.normal(jax.random.key(3), (D, E))
    teacher = jnp.einsum("lbtd,de->lbte", x, kernel)
    for measure in ("mse", "cosine"):
        matching = HiddenStates(((1, 1),), measure)
        arrays = chosen(matching.layers, x, teacher)
        output = match_hidden_states({"1_to_1": kernel}, *arrays, weights, matching)
        assert float(output.loss.total) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("measure", ["mse", "cosine"])
def test_padding_and_teacher_get_no_gradient(measure):
    (x, y), (a, b), weights, sources = case()
    of_states, of_attention = HiddenStates(((0, 0),), measure), Attention(((0, 0),), measure)
    states = init_projections(jax.random.key(1), of_states, student_size=D, teacher_size=E)
    heads = init_projections(jax.random.key(2), of_attention, student_size=N, teacher_size=P)

    def loss(states, heads, x, y, a, b):
        hidden = match_hidden_states(states, list(x[:1]), list(y[:1]), weights, of_states)
        heads_apart = match_attention(
            heads, list(a[:1]), list(b[:1]), weights, sources[:, None], of_attention
        )
        return (hidden.loss + heads_apart.loss).mean()

    # Zero vectors have a cosine all the same, and so have two of them.
    x, y = x.at[:, 1, 2:].set(0.0), y.at[:, 1, 3].set(0.0)
    a, b = a.at[:, 0, :, 3].set(0.0), b.at[:, 0, :, 3].set(0.0)
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
        HiddenStates(measure="cosin")
    with pytest.raises(UserError, match="Did you mean 'cross'"):
        Attention(of="cros")
    with pytest.raises(UserError, match=r"Attention.layers is \(\): give pairs"):
        Attention(())
    with pytest.raises(UserError, match="expected a pair"):
        HiddenStates(((1, 2, 3),))
    with pytest.raises(UserError, match="a pair twice"):
        HiddenStates(((1, 2), (1, 2)))
    with pytest.raises(UserError, match="weight is 0"):
        HiddenStates(weight=0.0)
    assert HiddenStates(((0, 1), (-1, -2))).pairs(2, 3) == ((0, 1), (1, 1))
    with pytest.raises(UserError, match=r"layer 3 of the teacher, which has 3: .* from -3 to 2"):
        HiddenStates(((0, 3),)).pairs(2, 3)


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
