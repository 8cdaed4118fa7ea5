"""Cross entropy by hand, against NumPy, finite differences and T5X."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tlm_jax.errors import UserError
from tlm_jax.losses.cross_entropy import cross_entropy
from tlm_jax.losses.reduction import loss_weights_and_normalizer

# jax.test_util is not imported by jax itself.
from jax.test_util import check_grads  # isort: skip


def example(rows=3, length=5, vocabulary=11, seed=0):
    keys = jax.random.split(jax.random.key(seed), 3)
    logits = 3 * jax.random.normal(keys[0], (rows, length, vocabulary))
    targets = jax.random.randint(keys[1], (rows, length), 0, vocabulary)
    return logits, targets, jax.random.uniform(keys[2], (rows, length))


def test_by_hand():
    logits = jnp.log(jnp.array([[[0.5, 0.25, 0.25], [0.2, 0.2, 0.6]]]))
    output = cross_entropy(logits, jnp.array([[1, 2]]), jnp.array([[1.0, 3.0]]))
    assert float(output.loss.total) == pytest.approx(np.log(4) - 3 * np.log(0.6))
    assert float(output.loss.weight) == 4.0
    assert float(output.metrics["accuracy"].mean()) == 0.5
    shifted = cross_entropy(logits + 2, jnp.array([[1, 2]]), jnp.array([[1.0, 3.0]]), z_loss=0.5)
    assert float(shifted.metrics["z_loss"].total) == pytest.approx(4 * 0.5 * 2**2, rel=1e-6)
    assert float(shifted.metrics["cross_ent_loss"].total) == pytest.approx(
        float(output.loss.total), rel=1e-6
    )


def test_against_numpy_with_everything_on():
    logits, targets, weights = example()
    output = cross_entropy(logits, targets, weights, label_smoothing=0.1, z_loss=1e-2)
    x = np.asarray(logits, np.float64)
    log_z = np.log(np.exp(x).sum(-1))
    soft = np.full(x.shape, 0.1 / 10)
    np.put_along_axis(soft, np.asarray(targets)[..., None], 0.9, axis=-1)
    token = -(soft * (x - log_z[..., None])).sum(-1) + (soft * np.log(soft)).sum(-1)
    total = ((token + 1e-2 * log_z**2) * np.asarray(weights)).sum()
    np.testing.assert_allclose(output.loss.total, total, rtol=1e-6)


def test_smoothed_loss_is_zero_at_the_smoothed_distribution():
    logits = jnp.log(jnp.array([[[0.9, 0.05, 0.05]]]))
    output = cross_entropy(logits, jnp.array([[0]]), jnp.ones((1, 1)), label_smoothing=0.1)
    assert float(output.loss.total) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
def test_gradient_matches_finite_differences(label_smoothing):
    logits, targets, weights = example(rows=1, length=2, vocabulary=5)

    def total(logits):
        options = {"label_smoothing": label_smoothing, "z_loss": 0.1}
        return cross_entropy(jnp.asarray(logits), targets, weights, **options).loss.total

    check_grads(total, (logits,), order=1, modes=["rev"], rtol=2e-2)


def test_padding_changes_neither_loss_nor_gradient():
    logits, targets, weights = example()
    weights = weights.at[:, 3:].set(0.0)

    def total(logits, targets):
        return cross_entropy(logits, targets, weights, label_smoothing=0.1, z_loss=0.1).loss.total

    value, gradient = jax.value_and_grad(total)(logits, targets)
    noise = logits.at[:, 3:].add(7.0)
    other_value, other_gradient = jax.value_and_grad(total)(noise, targets.at[:, 3:].set(0))
    assert float(value) == float(other_value)
    np.testing.assert_array_equal(gradient, other_gradient)
    assert not np.asarray(gradient[:, 3:]).any()


def test_large_logits_stay_finite():
    logits = jnp.array([[[1e4, -1e4, 0.0]]])
    total, gradient = jax.value_and_grad(
        lambda x: cross_entropy(x, jnp.array([[1]]), jnp.ones((1, 1))).loss.total
    )(logits)
    assert float(total) == 2e4
    np.testing.assert_allclose(gradient, [[[1.0, -1.0, 0.0]]])
    shifted = jax.grad(lambda x: cross_entropy(x, jnp.array([[1]]), jnp.ones((1, 1))).loss.total)(
        jnp.array([[[1e6, 1e6, 1e6 + 1]]])
    )
    exact = np.exp([0.0, 0.0, 1.0]) / np.exp([0.0, 0.0, 1.0]).sum() - [0, 1, 0]
    np.testing.assert_allclose(shifted[0, 0], exact, rtol=1e-6)


def test_accuracy_counts_what_argmax_would_choose():
    logits = jnp.array([[[0.0, 0, 0, 0], [1.0, 1, 0, 0], [1.0, 1, 0, 0], [0, 0, 0, 0]]])
    output = cross_entropy(logits, jnp.array([[0, 0, 1, 3]]), jnp.ones((1, 4)))
    assert float(output.metrics["accuracy"].total) == 2
    logits, targets, weights = example(rows=20, vocabulary=3)
    output = cross_entropy(logits, targets, weights)
    right = jnp.argmax(logits, axis=-1) == targets
    assert float(output.metrics["accuracy"].total) == float(right.sum())


def test_bfloat16_logits_are_summed_in_float32():
    logits, targets, weights = example(vocabulary=500)
    low = logits.astype(jnp.bfloat16)
    total = cross_entropy(low, targets, weights).loss.total
    exact = cross_entropy(low.astype(jnp.float32), targets, weights).loss.total
    assert total.dtype == jnp.float32
    assert float(total) == float(exact)


def test_impossible_label_smoothing_is_refused():
    logits, targets, weights = example()
    with pytest.raises(UserError, match=r"label_smoothing is 1\.5"):
        cross_entropy(logits, targets, weights, label_smoothing=1.5)


@pytest.mark.parametrize("model", ["t5_untied", "scalable_t5_untied", "decoder_only_untied"])
def test_agrees_with_t5x_on_its_logits(shared_dir, model):
    inputs = np.load(shared_dir / "fixtures/t5x" / model / "inputs.npz")
    outputs = np.load(shared_dir / "fixtures/t5x" / model / "outputs.npz")
    names = {
        "none": None,
        "const100": 100.0,
        "real": "NUM_REAL_TARGET_TOKENS",
        "total": "NUM_TOTAL_TARGET_TOKENS",
        "perseq": "AVERAGE_PER_SEQUENCE",
    }
    cases = [key for key in outputs if key.startswith("loss/")]
    assert len(cases) > 20
    for key in cases:
        kind, factor, smoothing, z_loss = key.split("/")[1:]
        arrays = "packed" if kind == "packed" else "unpacked"
        batch = {
            k.split("/")[1]: jnp.asarray(inputs[k]) for k in inputs if k.startswith(arrays + "/")
        }
        if kind == "fracw":
            batch["decoder_loss_weights"] = jnp.asarray(inputs["fracw/decoder_loss_weights"])
        weights, normalizer = loss_weights_and_normalizer(names[factor.split("=")[1]], batch)
        output = cross_entropy(
            jnp.asarray(outputs["logits_packed" if kind == "packed" else "logits"]),
            batch["decoder_target_tokens"],
            weights,
            label_smoothing=float(smoothing.split("=")[1]),
            z_loss=float(z_loss.split("=")[1]),
        ).with_normalizer(normalizer)
        np.testing.assert_allclose(output.loss.mean(), outputs[key], rtol=1e-5, err_msg=key)
        case = key.removeprefix("loss/")
        for metric in ("cross_ent_loss", "z_loss"):
            if f"metric_{metric}/{case}" in outputs:
                expected = outputs[f"metric_{metric}/{case}"]
                np.testing.assert_allclose(output.metrics[metric].total, expected, rtol=1e-5)
        if f"metric_accuracy/{case}" in outputs:
            expected = outputs[f"metric_accuracy/{case}"]
            np.testing.assert_allclose(output.metrics["accuracy"].mean(), expected, rtol=1e-6)
