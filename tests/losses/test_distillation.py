"""Distillation against dense float64 references, TRL and the Flan-T5 code, and its invariances."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from distillation_reference import (
    DIVERGENCES,
    B,
    C,
    T,
    V,
    apart,
    example,
    float32,
    numeric_gradient,
    on_support,
    reference_total,
    softmax,
    sparse,
)

from tlm_jax.errors import UserError
from tlm_jax.losses.cross_entropy import cross_entropy
from tlm_jax.losses.distillation import SUPPORTS, Distillation, distillation_loss, effective_weights
from tlm_jax.losses.teachers import DenseTeacher, LogitsTeacher, SparseTeacher, teacher_of
from tlm_jax.types import Unembedding


def value_and_gradient(logits, targets, weights, teacher, settings):
    def loss(logits):
        return distillation_loss(logits, targets, weights, teacher, settings).loss.total

    return jax.value_and_grad(loss)(logits)


@pytest.mark.parametrize("support", SUPPORTS)
@pytest.mark.parametrize("name", DIVERGENCES)
def test_sparse_agrees_with_dense_float64(name, support):
    student, _, targets, weights, said = example()
    settings = Distillation(divergence=name, support=support, alpha=0.7, temperature=1.5)

    def token_losses(x):
        def divergences(x):
            return apart(name, *on_support(support, softmax(x, 1.5), said))

        return reference_total(x, targets, weights, said[3], 0.7, divergences)

    value, gradient = value_and_gradient(
        *float32(student, targets, weights), sparse(said), settings
    )
    np.testing.assert_allclose(value, token_losses(student).sum(), rtol=2e-6)
    np.testing.assert_allclose(gradient, numeric_gradient(token_losses, student), atol=3e-6)


@pytest.mark.parametrize("name", DIVERGENCES)
def test_whole_distributions_agree_with_float64(name):
    student, teacher, targets, weights, said = example()
    settings = Distillation(divergence=name, alpha=0.7, temperature=1.5)

    def token_losses(x):
        def divergences(x):
            return apart(name, softmax(teacher, 1.5), softmax(x, 1.5))

        return reference_total(x, targets, weights, said[3], 0.7, divergences)

    whole = LogitsTeacher(*float32(teacher, said[3]))
    value, gradient = value_and_gradient(*float32(student, targets, weights), whole, settings)
    np.testing.assert_allclose(value, token_losses(student).sum(), rtol=2e-6)
    np.testing.assert_allclose(gradient, numeric_gradient(token_losses, student), atol=3e-6)


def test_candidates_of_the_whole_vocabulary_equal_the_whole_distribution():
    student, teacher, targets, weights, said = example()
    ids = np.tile(np.arange(V), (B, T, 1))
    log_p = np.log(softmax(teacher))
    everything = sparse((ids, log_p, np.full((B, T), -np.inf), said[3]))
    whole = LogitsTeacher(*float32(teacher, said[3]))
    arrays = float32(student, targets, weights)
    for support in SUPPORTS:
        settings = Distillation(divergence="jensen_shannon", support=support)
        got = value_and_gradient(*arrays, everything, settings)
        expected = value_and_gradient(*arrays, whole, settings)
        np.testing.assert_allclose(got[0], expected[0], rtol=1e-6)
        np.testing.assert_allclose(got[1], expected[1], atol=1e-6)


def test_official_form_has_the_gradient_of_the_notes():
    student, _, targets, _, said = example()
    settings = Distillation(support="unnormalized")
    ones = jnp.ones((B, T))
    said = (*said[:3], np.ones((B, T)))
    _, gradient = value_and_gradient(*float32(student, targets), ones, sparse(said), settings)
    dense = np.zeros((B, T, V))
    np.put_along_axis(dense, said[0], np.exp(said[1]), axis=-1)
    expected = dense.sum(-1, keepdims=True) * softmax(student) - dense
    np.testing.assert_allclose(gradient, expected, atol=1e-6)


def test_sampled_counts_give_the_whole_gradient_in_expectation():
    """Over R rows of N draws each a mean of frequencies has standard error sqrt(p (1 - p) / (N R)).

    The gradient is q - frequencies, so its mean may be off by five of those, and is. The N most
    likely tokens, renormalised, which is what caches of top candidates train on, are far outside.
    """
    rows, draws = 4000, 12
    random = np.random.default_rng(0)
    student, teacher = 1.5 * random.normal(size=(2, V))
    p = softmax(teacher)
    counts = random.multinomial(draws, p, size=rows)[:, None]
    with np.errstate(divide="ignore"):
        logprobs = np.log(counts / draws)
    ids = np.broadcast_to(np.arange(V), counts.shape)
    empty = np.full((rows, 1), -np.inf)
    teacher_rows = sparse((ids, logprobs, empty, np.ones((rows, 1))))
    logits = jnp.broadcast_to(jnp.asarray(student, jnp.float32), (rows, 1, V))
    arguments = (jnp.zeros((rows, 1), jnp.int32), jnp.ones((rows, 1)))
    _, gradient = value_and_gradient(logits, *arguments, teacher_rows, Distillation())
    bound = 5 * np.sqrt(p * (1 - p) / (draws * rows)) + 1e-6
    assert (
        np.abs(np.asarray(gradient, np.float64).mean((0, 1)) - (softmax(student) - p)) < bound
    ).all()
    best = np.where(p >= np.sort(p)[-C], p, 0)
    assert (np.abs(best / best.sum() - p) > 3 * bound).any()


def test_metrics_by_hand():
    logits = jnp.log(jnp.array([[[0.5, 0.25, 0.25], [0.2, 0.2, 0.6], [0.1, 0.1, 0.8]]]))
    teacher = SparseTeacher(
        jnp.array([[[0, 1], [2, 0], [2, 0]]]),
        jnp.log(jnp.array([[[0.75, 0.0], [0.5, 0.25], [1.0, 0.0]]])),
        jnp.log(jnp.array([[0.25, 0.25, 0.0]])),
        jnp.array([[1.0, 0.0, 1.0]]),
    )
    targets, weights = jnp.array([[1, 2, 2]]), jnp.array([[1.0, 3.0, 0.0]])
    settings = Distillation(alpha=0.25, report_entropy=True)
    output = distillation_loss(logits, targets, weights, teacher, settings)
    first = 0.75 * np.log(1.5) + 0.25 * np.log(0.5)
    values = {name: (float(s.total), float(s.weight)) for name, s in output.metrics.items()}
    assert values["divergence"] == pytest.approx((first, 1))
    assert values["teacher_share"] == (1, 2)
    assert values["cross_ent_loss"] == pytest.approx((np.log(4) - 3 * np.log(0.6), 4))
    assert values["accuracy"] == (1, 2)
    entropies = [1.5 * np.log(2), -0.4 * np.log(0.2) - 0.6 * np.log(0.6)]
    assert values["student_entropy"] == pytest.approx((entropies[0] + 3 * entropies[1], 4))
    expected = 0.75 * np.log(4) + 0.25 * first - 3 * np.log(0.6)
    assert float(output.loss.total) == pytest.approx(expected, rel=1e-6)


def test_without_a_teacher_it_is_cross_entropy_or_nothing():
    student, _, targets, weights, said = example()
    arrays = float32(student, targets, weights)
    nobody = sparse((*said[:3], np.zeros((B, T))))
    options = {"label_smoothing": 0.1, "z_loss": 1e-2}
    expected = cross_entropy(*arrays, **options)
    output = distillation_loss(*arrays, nobody, Distillation(**options))
    assert float(output.loss.total) == pytest.approx(float(expected.loss.total), rel=1e-6)
    none = distillation_loss(*arrays, sparse(said), Distillation(alpha=0.0, **options))
    assert float(none.loss.total) == pytest.approx(float(expected.loss.total), rel=1e-6)
    # Where nothing is left to cross entropy, label smoothing would do nothing, and is refused.
    with pytest.raises(UserError, match="LABEL_SMOOTHING"):
        Distillation(without_teacher="skip", **options)
    skip = Distillation(without_teacher="skip", z_loss=1e-2)
    output = distillation_loss(*arrays, nobody, skip)
    assert float(output.loss.total) == 0
    assert float(output.loss.weight) == 0
    left = effective_weights(arrays[2], sparse(said), skip)
    np.testing.assert_array_equal(left, arrays[2] * said[3].astype(np.float32))


@pytest.mark.parametrize("kind", ["sparse", "whole"])
def test_padding_changes_neither_loss_nor_gradient(kind):
    student, teacher, targets, weights, said = example()
    weights[:, 3:] = 0
    settings = Distillation(divergence="jensen_shannon", alpha=0.5)

    def run(student, targets, teacher, said):
        told = sparse(said) if kind == "sparse" else LogitsTeacher(*float32(teacher, said[3]))
        return value_and_gradient(*float32(student, targets, weights), told, settings)

    value, gradient = run(student, targets, teacher, said)
    noise = np.where(np.arange(T) >= 3, 7.0, 0.0)[:, None] * np.arange(V)
    ids, logprobs, tail, taught = (x.copy() for x in said)
    ids[:, 3:], logprobs[:, 3:], tail[:, 3:] = 0, -np.inf, -np.inf
    other = run(student + noise, targets, teacher + noise, (ids, logprobs, tail, taught))
    assert float(other[0]) == pytest.approx(float(value), rel=1e-6)
    np.testing.assert_allclose(other[1], gradient, atol=1e-7)
    assert not np.asarray(gradient[:, 3:]).any()


@pytest.mark.parametrize("support", SUPPORTS)
@pytest.mark.parametrize("name", DIVERGENCES)
def test_gradients_are_finite_at_the_edges(name, support):
    """Impossible tokens, a teacher who says nothing (all -inf), no weight at all."""
    student, _, targets, weights, (ids, logprobs, tail, taught) = example()
    student[0, 0, ids[0, 0, 0]] = -np.inf
    student[0, 2, [i for i in range(V) if i not in ids[0, 2]]] = -np.inf
    logprobs[0, 3, 1:], logprobs[1, 0], tail[1, 0], tail[1, 1] = -np.inf, -np.inf, -np.inf, -np.inf
    taught[1, 0] = 0
    targets[...] = ids[..., 1]
    settings = Distillation(divergence=name, support=support, alpha=0.5)
    teacher = sparse((ids, logprobs, tail, taught))
    _, gradient = value_and_gradient(*float32(student, targets, weights), teacher, settings)
    assert np.isfinite(gradient).all()
    nothing = jnp.zeros((B, T))
    value, gradient = value_and_gradient(*float32(student, targets), nothing, teacher, settings)
    assert float(value) == 0
    assert not np.asarray(gradient).any()


def test_micro_batches_add_up():
    student, _, targets, weights, said = example()
    settings = Distillation(divergence="skewed_kl", alpha=0.5, without_teacher="skip")
    arrays = (*float32(student, targets, weights), sparse(said))
    whole = distillation_loss(*arrays, settings)
    halves = [
        distillation_loss(*jax.tree.map(lambda x, i=i: x[i : i + 1], arrays), settings)
        for i in range(B)
    ]
    summed = jax.tree.map(jnp.add, *halves)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-6), summed, whole)


def test_no_gradient_reaches_the_teacher():
    student, teacher, targets, weights, said = example()
    arrays = float32(student, targets, weights)
    random = np.random.default_rng(0)
    hidden, matrix = float32(random.normal(size=(B, T, 6)), random.normal(size=(6, V)))

    def loss(teacher):
        return distillation_loss(*arrays, teacher, Distillation(alpha=0.5)).loss.total

    dense = DenseTeacher(hidden, Unembedding(matrix, 0.5), float32(said[3])[0])
    for told in (dense, LogitsTeacher(*float32(teacher, said[3]))):
        gradients = jax.grad(loss, allow_int=True)(told)
        assert not any(np.asarray(g).any() for g in jax.tree.leaves(gradients))
    as_logits = LogitsTeacher(Unembedding(matrix, 0.5).logits(hidden), float32(said[3])[0])
    assert float(loss(dense)) == pytest.approx(float(loss(as_logits)), rel=1e-6)


def test_teachers_of_a_batch():
    said = sparse(example()[4])
    batch = {f"teacher_{name}": value for name, value in said._asdict().items()}
    assert isinstance(teacher_of(batch), SparseTeacher)
    np.testing.assert_array_equal(teacher_of(batch).token_ids, said.token_ids)
    hidden = {"teacher_hidden": jnp.zeros((B, T, 3)), "teacher_weights": said.weights}
    assert isinstance(teacher_of(hidden, Unembedding(jnp.zeros((3, V)))), DenseTeacher)
    with pytest.raises(UserError, match="no teacher's unembedding"):
        teacher_of(hidden)
    with pytest.raises(UserError, match="no teacher_logprobs"):
        teacher_of({k: v for k, v in batch.items() if k != "teacher_logprobs"})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"divergence": "kl"}, "unknown divergence 'kl'"),
        ({"support": "tails"}, "Did you mean 'tail'"),
        ({"without_teacher": "drop"}, "Known: cross_entropy, skip"),
        ({"temperature": 0.0}, "temperature is 0.0"),
        ({"alpha": 1.5}, "alpha is 1.5"),
    ],
)
def test_bad_settings_are_told(options, message):
    with pytest.raises(UserError, match=message):
        Distillation(**options)


def test_vocabularies_that_differ_are_told():
    student, _, targets, weights, said = example()
    teacher = LogitsTeacher(jnp.zeros((B, T, V + 1)), float32(said[3])[0])
    with pytest.raises(UserError, match="teacher's vocabulary has 14 tokens, the student's 13"):
        distillation_loss(*float32(student, targets, weights), teacher, Distillation())
