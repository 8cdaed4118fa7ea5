"""Divergences against float64 formulas, their slopes against autodiff, their edges and names."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tlm_jax.errors import UserError
from tlm_jax.losses.divergences import ForwardKL, JensenShannon, divergence

NAMES = (
    "forward_kl",
    "reverse_kl",
    "jensen_shannon(0.3)",
    "jensen_shannon(0.0)",
    "jensen_shannon(1.0)",
    "skewed_kl(0.2)",
    "skewed_reverse_kl(0.2)",
    "total_variation",
)


def kl(p, q):
    """KL of float64 distributions over the last axis; 0 log 0 = 0."""
    return np.sum(np.where(p > 0, p * np.log(np.where(p > 0, p, 1) / q), 0), axis=-1)


def reference(name, p, q):
    """The divergence of float64 probabilities."""
    kind, _, number = name.removesuffix(")").partition("(")
    share = float(number or 0)
    if kind == "forward_kl" or name == "jensen_shannon(0.0)":
        return kl(p, q)
    if kind == "reverse_kl" or name == "jensen_shannon(1.0)":
        return kl(q, p)
    if kind == "jensen_shannon":
        m = share * p + (1 - share) * q
        return share * kl(p, m) + (1 - share) * kl(q, m)
    if kind == "skewed_kl":
        return kl(p, share * p + (1 - share) * q)
    if kind == "skewed_reverse_kl":
        return kl(q, (1 - share) * p + share * q)
    return 0.5 * np.abs(p - q).sum(-1)


def distributions(seed, rows=6, outcomes=9, spread=3.0):
    random = np.random.default_rng(seed)
    p, q = np.exp(spread * random.normal(size=(2, rows, outcomes)))
    return p / p.sum(-1, keepdims=True), q / q.sum(-1, keepdims=True)


@pytest.mark.parametrize("name", NAMES)
def test_values_agree_with_float64(name):
    p, q = distributions(0)
    value = divergence(name)(jnp.log(p.astype(np.float32)), jnp.log(q.astype(np.float32)))
    np.testing.assert_allclose(value, reference(name, p, q), rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_slopes_are_the_derivatives_of_the_terms(name):
    kind = divergence(name)
    log_p, log_q = (jnp.log(jnp.float32(x)).reshape(-1) for x in distributions(1))
    derived = jax.grad(lambda log_q: jnp.sum(kind.terms(log_p, log_q)))(log_q)
    np.testing.assert_allclose(kind.slopes(log_p, log_q), derived, rtol=1e-4, atol=1e-6)
    given_back = jax.grad(lambda log_q: kind(log_p, log_q))(log_q)
    np.testing.assert_array_equal(given_back, kind.slopes(log_p, log_q))


def test_by_hand():
    log_p, log_q = jnp.log(jnp.array([0.5, 0.5])), jnp.log(jnp.array([0.25, 0.75]))
    forward = 0.5 * np.log(2) + 0.5 * np.log(2 / 3)
    assert float(divergence("forward_kl")(log_p, log_q)) == pytest.approx(forward, rel=1e-6)
    assert float(divergence("total_variation")(log_p, log_q)) == pytest.approx(0.25)
    reverse = 0.25 * np.log(0.5) + 0.75 * np.log(1.5)
    assert float(divergence("reverse_kl")(log_p, log_q)) == pytest.approx(reverse, rel=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_masked_candidates_change_nothing(name):
    log_p, log_q = (jnp.log(jnp.float32(x)) for x in distributions(2))
    masked = [jnp.pad(x, ((0, 0), (0, 2)), constant_values=-jnp.inf) for x in (log_p, log_q)]
    kind = divergence(name)
    np.testing.assert_allclose(kind(*masked), kind(log_p, log_q), rtol=1e-6)
    gradient = jax.grad(lambda log_q: jnp.sum(kind(masked[0], log_q)))(masked[1])
    assert np.isfinite(gradient).all()
    assert not np.asarray(gradient[:, -2:]).any()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("empty", ["teacher", "student"])
def test_zero_mass_gives_finite_values_and_gradients(name, empty):
    full, part = (
        jnp.log(jnp.array([0.5, 0.3, 0.2])),
        jnp.array([jnp.log(0.4), jnp.log(0.6), -jnp.inf]),
    )
    pair = (part, full) if empty == "teacher" else (full, part)
    value, gradient = jax.value_and_grad(lambda q: divergence(name)(pair[0], q))(pair[1])
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()


@settings(max_examples=30, deadline=None)
@given(
    arrays(np.float32, (2, 5), elements=st.floats(-30, 30, width=32)),
    st.sampled_from(NAMES),
)
def test_never_negative_and_zero_only_at_the_teacher(logits, name):
    log_p, log_q = jax.nn.log_softmax(jnp.asarray(logits))
    kind = divergence(name)
    assert float(kind(log_p, log_q)) >= -2e-6
    assert abs(float(kind(log_p, log_p))) < 2e-6


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_bounds(share):
    apart = jnp.log(jnp.array([[1.0, 0.0], [0.0, 1.0]]))
    assert float(divergence("total_variation")(*apart)) == 1.0
    for name in ("skewed_kl", "skewed_reverse_kl"):
        bound = float(divergence(f"{name}({share})")(*apart))
        assert bound == pytest.approx(-np.log(share), rel=1e-6)


def test_names():
    assert divergence("jensen_shannon") == JensenShannon(0.5)
    assert divergence(" jensen_shannon( beta = 0.25 ) ") == JensenShannon(0.25)
    assert divergence(ForwardKL()) == ForwardKL()
    assert [name for name in NAMES if divergence(name).unbiased_from_samples] == ["forward_kl"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("foward_kl", "Did you mean 'forward_kl'"),
        ("jensen_shannon(2)", "beta is 2.0: give a number from 0 to 1"),
        ("skewed_kl(1)", "alpha is 1.0: give a number from 0 to below 1"),
        ("forward_kl(0.5)", "cannot be read"),
        ("jensen_shannon(half)", "cannot be read"),
        ("KL divergence", "Known: forward_kl"),
    ],
)
def test_bad_names_are_told(name, message):
    with pytest.raises(UserError, match=message.replace("(", r"\(")):
        divergence(name)


@pytest.mark.parametrize("name", [*NAMES, "jensen_shannon(1)", "skewed_reverse_kl(0)"])
def test_what_a_divergence_can_learn_from(name):
    """By its values: of a single token as the target, and of a part of the outcomes."""
    kind = divergence(name)
    alone = kind(jnp.array([0.0, -jnp.inf]), jnp.log(jnp.array([0.5, 0.5])))
    assert kind.is_bounded_without_mass == (alone < 3)
    q = jnp.linspace(0.01, 1, 100)
    terms = kind.terms(jnp.full(100, jnp.log(0.6)), jnp.log(q))
    assert kind.fits_parts == bool(q[jnp.argmin(terms)] > 0.59)
