"""What is matched between two models: weights, places and sums of a batch worked out by hand."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_models import decoder_only, encoder_decoder

from tlm_jax import models
from tlm_jax.losses.matching import Attention, HiddenStates
from tlm_jax.training.matching import InnerMatching
from tlm_jax.training.step_teacher import LiveArrays, LiveModel, live_teacher

SIZES = {"embed_dim": 8, "head_dim": 4, "mlp_dim": 8}
PAIR = encoder_decoder(32, num_decoder_layers=2, **SIZES)
ALONE = decoder_only(32, num_layers=2, **SIZES)


@pytest.fixture
def batch():
    """Two rows: of two packed examples and none to spare, and of one with padding."""
    rows = {
        "encoder_input_tokens": [[3, 4, 5, 6, 7], [8, 9, 0, 0, 0]],
        "encoder_segment_ids": [[1, 1, 1, 2, 2], [1, 1, 0, 0, 0]],
        "encoder_positions": [[0, 1, 2, 0, 1], [0, 1, 0, 0, 0]],
        "decoder_input_tokens": [[0, 10, 0, 12], [0, 14, 0, 0]],
        "decoder_target_tokens": [[10, 11, 12, 13], [14, 15, 0, 0]],
        "decoder_segment_ids": [[1, 1, 2, 2], [1, 1, 0, 0]],
        "decoder_positions": [[0, 1, 0, 1], [0, 1, 0, 0]],
    }
    arrays = {name: jnp.asarray(rows[name], jnp.int32) for name in rows}
    weights = jnp.asarray([[1, 1, 1, 1], [0, 1, 0, 0]], jnp.float32)
    return {**arrays, "decoder_loss_weights": weights}


@pytest.mark.parametrize(
    ("normalization", "normalizer"),
    [("NUM_REAL_TARGET_TOKENS", 5), ("NUM_TOTAL_TARGET_TOKENS", 8), (3.0, 3), (None, 1)],
)
def test_weights_sum_up_to_the_normalizer(batch, normalization, normalizer):
    both = InnerMatching((HiddenStates(), HiddenStates(stack="encoder")), PAIR, PAIR)
    weighed = both.weigh(batch, normalization)
    share = normalizer / 5
    np.testing.assert_allclose(
        weighed["matching_decoder_weights"], [[share] * 4, [0, share, 0, 0]], rtol=1e-6
    )
    share = normalizer / 7
    np.testing.assert_allclose(
        weighed["matching_encoder_weights"], [[share] * 5, [share] * 2 + [0] * 3], rtol=1e-6
    )


def test_a_batch_without_targets_weighs_nothing(batch):
    empty = {**batch, "decoder_loss_weights": jnp.zeros((2, 4))}
    weighed = InnerMatching((HiddenStates(),), PAIR, PAIR).weigh(empty, "NUM_REAL_TARGET_TOKENS")
    assert not np.asarray(weighed["matching_decoder_weights"]).any()


def states(seed, hidden=None, attention=None, cross=None):
    """Returns random inner states of a decoder with as many layers as given."""
    keys = iter(jax.random.split(jax.random.key(seed), 3))

    def random(layers, *shape):
        return None if layers is None else jax.random.normal(next(keys), (layers, 2, *shape))

    kept = models.LayerStates(
        random(hidden, 4, 8), random(attention, 2, 4, 4), random(cross, 2, 4, 5)
    )
    return models.InnerStates(jnp.zeros((2, 4, 8)), kept, models.LayerStates())


def test_pairs_get_their_layers_and_weights_their_sums(batch):
    """Layers kept once, in order; a pair's kernel by its name; attention over what is seen."""
    deeper = dataclasses.replace(PAIR, num_decoder_layers=4)
    settings = (
        HiddenStates(((-1, 3), (0, 1), (1, 1)), weight=2.0),
        Attention(((1, 0),), weight=0.5),
        Attention(((0, -1),), of="cross"),
    )
    matching = InnerMatching(settings, PAIR, deeper)
    kept = models.KeptLayers(hidden=(0, 1), attention=(1,), cross_attention=(0,))
    assert matching.student_keeps() == models.Keeps(kept)
    kept = models.KeptLayers(hidden=(1, 3), attention=(0,), cross_attention=(3,))
    assert matching.teacher_keeps() == models.Keeps(kept)
    projections = matching.init(jax.random.key(0))
    jax.tree.map(lambda kernel, axes: None, projections, matching.axes())  # the same structure
    ours, theirs = states(1, 2, 1, 1), states(2, 2, 1, 1)
    output = matching.loss(projections, ours, theirs, matching.weigh(batch, 10.0))

    weights = np.asarray([[1, 1, 1, 1], [0, 1, 0, 0]]) / 5
    x, y = (np.asarray(side.decoder.hidden) for side in (ours, theirs))
    kernels = projections["decoder_hidden_states"]
    pairs = (("-1_to_3", 1, 1), ("0_to_1", 0, 0), ("1_to_1", 1, 0))
    apart = [((x[a] @ kernels[name] - y[b]) ** 2).mean(-1) for name, a, b in pairs]
    hidden = (np.mean(apart, 0) * weights).sum()
    seen = {
        "attention": [[[1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 1, 1]]] * 2,
        "cross_attention": [
            [[1, 1, 1, 0, 0]] * 2 + [[0, 0, 0, 1, 1]] * 2,
            [[1, 1, 0, 0, 0]] * 2 + [[0] * 5] * 2,
        ],
    }
    means = {"decoder_hidden_states_difference": hidden}
    for field, name, pair in (
        ("attention", "decoder_attention", "1_to_0"),
        ("cross_attention", "cross_attention", "0_to_-1"),
    ):
        real = np.asarray(seen[field])[:, None]
        a, b = (np.asarray(getattr(side.decoder, field))[0] * real for side in (ours, theirs))
        mixed = np.einsum("bnts,np->bpts", a, projections[name][pair])
        each = ((mixed - b) ** 2).sum(-1) / np.maximum(real.sum(-1), 1)
        means[f"{name}_difference"] = (each.mean(1) * weights).sum()
    found = {name: float(metric.mean()) for name, metric in output.metrics.items()}
    assert found == pytest.approx(means, rel=1e-5)
    total = 2 * hidden + 0.5 * means["decoder_attention_difference"]
    total += means["cross_attention_difference"]
    assert float(output.loss.total) == pytest.approx(10 * total, rel=1e-5)
    assert float(output.loss.weight) == pytest.approx(10)


@pytest.mark.parametrize("teacher", [PAIR, ALONE], ids=["same", "other"])
def test_a_live_teachers_states_stand_at_the_students_places(batch, teacher):
    """Normalised, those of its last layer are the states that its logits are made of."""
    matching = InnerMatching((HiddenStates(),), PAIR, teacher)
    ask = jax.jit(live_teacher(PAIR, LiveModel(teacher), chunk_tokens=8, matching=matching))
    params = models.init(jax.random.key(0), teacher)
    said = ask(LiveArrays(params), batch)
    x = np.asarray(said.inner.decoder.hidden)[0]
    normed = x / np.sqrt((x**2).mean(-1, keepdims=True) + teacher.norm_epsilon)
    np.testing.assert_allclose(normed, said.teacher.hidden, rtol=1e-5, atol=1e-5)
