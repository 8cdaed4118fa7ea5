"""Weights and normalizers of losses, by hand and against T5X."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tlm_jax.errors import UserError
from tlm_jax.losses.reduction import WeightedSum, loss_weights_and_normalizer

BATCH = {
    "decoder_target_tokens": jnp.array([[5, 6, 1, 7, 1, 0], [8, 1, 0, 0, 0, 0]]),
    "decoder_loss_weights": jnp.array([[1.0, 1, 2, 1, 3, 0], [0, 4, 0, 0, 0, 0]]),
    "decoder_segment_ids": jnp.array([[1, 1, 1, 2, 2, 0], [1, 1, 0, 0, 0, 0]]),
}


def test_weighted_sums_merge_before_they_divide():
    parts = [
        WeightedSum(jnp.float32(6), jnp.float32(2)),
        WeightedSum(jnp.float32(1), jnp.float32(8)),
    ]
    assert float((parts[0] + parts[1]).mean()) == pytest.approx(0.7)
    assert jax.tree.structure(parts[0]).num_leaves == 2


def test_mean_of_nothing_is_zero_with_zero_gradient():
    nothing = WeightedSum(jnp.float32(0), jnp.float32(0))
    assert float(nothing.mean()) == 0.0
    gradient = jax.grad(lambda total: WeightedSum(total, jnp.float32(0)).mean())(jnp.float32(3))
    assert float(gradient) == 0.0


@pytest.mark.parametrize(
    ("normalization", "expected"),
    [
        (None, 1.0),
        ("none", 1.0),
        (250, 250.0),
        ("NUM_REAL_TARGET_TOKENS", 12.0),
        ("num_total_target_tokens", 12.0),
        ("AVERAGE_PER_SEQUENCE", 3.0),
    ],
)
def test_normalizer_by_hand(normalization, expected):
    weights, normalizer = loss_weights_and_normalizer(normalization, BATCH)
    assert float(normalizer) == pytest.approx(expected)
    if normalization == "AVERAGE_PER_SEQUENCE":
        expected = [[0.25, 0.25, 0.5, 0.25, 0.75, 0], [0, 1, 0, 0, 0, 0]]
        np.testing.assert_allclose(weights, expected)
    else:
        np.testing.assert_array_equal(weights, BATCH["decoder_loss_weights"])


def test_unpacked_rows_are_one_sequence_each():
    batch = {k: v for k, v in BATCH.items() if k != "decoder_segment_ids"}
    weights, _ = loss_weights_and_normalizer("AVERAGE_PER_SEQUENCE", batch)
    np.testing.assert_allclose(weights[0], np.array([1, 1, 2, 1, 3, 0]) / 8)


def test_without_weights_every_real_token_counts_once():
    batch = {"decoder_target_tokens": BATCH["decoder_target_tokens"]}
    weights, normalizer = loss_weights_and_normalizer("NUM_REAL_TARGET_TOKENS", batch)
    np.testing.assert_array_equal(weights, [[1, 1, 1, 1, 1, 0], [1, 1, 0, 0, 0, 0]])
    assert float(normalizer) == 7


@pytest.mark.parametrize(
    "normalization",
    [None, 100.0, "NUM_REAL_TARGET_TOKENS", "NUM_TOTAL_TARGET_TOKENS", "AVERAGE_PER_SEQUENCE"],
)
def test_normalizers_of_micro_batches_add_up(normalization):
    _, whole = loss_weights_and_normalizer(normalization, BATCH)
    halves = [jax.tree.map(lambda x, i=i: x[i : i + 1], BATCH) for i in range(2)]
    parts = [loss_weights_and_normalizer(normalization, half, batch_rows=2)[1] for half in halves]
    assert float(sum(parts)) == pytest.approx(float(whole))


def test_bad_normalizations_are_named():
    with pytest.raises(UserError, match="Did you mean 'NUM_REAL_TARGET_TOKENS'"):
        loss_weights_and_normalizer("NUM_REAL_TARGET_TOKEN", BATCH)
    with pytest.raises(UserError, match="-2 is not positive"):
        loss_weights_and_normalizer(-2, BATCH)


T5X_NAMES = {
    "none": None,
    "const100": 100.0,
    "real": "NUM_REAL_TARGET_TOKENS",
    "total": "NUM_TOTAL_TARGET_TOKENS",
    "perseq": "AVERAGE_PER_SEQUENCE",
}


@pytest.mark.parametrize("name", T5X_NAMES)
@pytest.mark.parametrize("kind", ["unpacked", "packed", "fracw"])
@pytest.mark.parametrize("model", ["t5_untied", "decoder_only_untied"])
def test_agrees_with_t5x(shared_dir, model, kind, name):
    inputs = np.load(shared_dir / "fixtures/t5x" / model / "inputs.npz")
    outputs = np.load(shared_dir / "fixtures/t5x" / model / "outputs.npz")
    arrays = "packed" if kind == "packed" else "unpacked"
    batch = {k.split("/")[1]: jnp.asarray(inputs[k]) for k in inputs if k.startswith(arrays + "/")}
    if kind == "fracw":
        batch["decoder_loss_weights"] = jnp.asarray(inputs["fracw/decoder_loss_weights"])
    weights, normalizer = loss_weights_and_normalizer(T5X_NAMES[name], batch)
    expected = outputs[f"lnf_value/{kind}/{name}"]
    np.testing.assert_allclose(normalizer, 1.0 if np.isnan(expected) else expected, rtol=1e-6)
    np.testing.assert_allclose(weights, outputs[f"lnf_weights/{kind}/{name}"], rtol=1e-6)
