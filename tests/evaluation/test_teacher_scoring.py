"""A teacher's distributions over texts: exact candidates and tails, draws, hidden states."""

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlm_jax import models
from tlm_jax.checkpoints.loading import load_params
from tlm_jax.checkpoints.pretrained import open_pretrained
from tlm_jax.data.teacher_steps import HiddenSteps, StepDistributions
from tlm_jax.evaluation.scoring import Scorer
from tlm_jax.evaluation.scoring_rows import Request
from tlm_jax.evaluation.teacher_looks import (
    Draws,
    LastHidden,
    TopCandidates,
    draw,
    top_candidates,
    uniforms,
    vocab_shards,
)
from tlm_jax.evaluation.teacher_scoring import TeacherScorer, counted
from tlm_jax.sharding import rules
from tlm_jax.sharding.mesh import MeshShape, make_mesh

GOLDEN = Path(__file__).parents[1] / "golden" / "hf"
KEYS = [f"{n:032x}" for n in range(1 << 60, (1 << 60) + 40)]


@pytest.fixture(scope="module", params=["mt5", "llama_tied_linear_rope"])
def teacher(request):
    source = open_pretrained(GOLDEN / request.param)
    config = dataclasses.replace(source.config, dtype="float32")
    params = jax.tree.map(jnp.asarray, load_params(source, config))
    rng = np.random.default_rng(0)
    requests = [
        Request(rng.integers(3, 100, 3 + n), [rng.integers(3, 100, 2 + k) for k in range(1 + n)])
        for n in range(3)
    ]
    return config, params, requests


def all_logprobs(config, params, request, continuation):
    """The whole distribution at each token, float64, by `models.logits`."""
    if isinstance(config, models.EncoderDecoderConfig):
        inputs = np.asarray([0, *continuation[:-1]])
        features = {"encoder_input_tokens": request.context, "decoder_input_tokens": inputs}
        features["encoder_segment_ids"] = np.ones_like(request.context)
    else:
        inputs = np.concatenate([request.context, continuation])[:-1]
        features = {"decoder_input_tokens": inputs}
    features["decoder_target_tokens"] = inputs
    features["decoder_segment_ids"] = np.ones_like(inputs)
    batch = {name: jnp.asarray(array, jnp.int32)[None] for name, array in features.items()}
    logits = np.asarray(models.logits(params, batch, config)[0], np.float64)[-len(continuation) :]
    shifted = logits - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def score(config, params, requests, look, **options):
    keys = [KEYS[10 * i :][: len(r.continuations)] for i, r in enumerate(requests)]
    scorer = TeacherScorer(config, look, batch_size=2, **options)
    return {(i, k): steps for i, k, steps in scorer.score(params, requests, keys)}


def test_candidates_and_tail_are_those_of_the_whole_distribution(teacher):
    config, params, requests = teacher
    found = score(config, params, requests, TopCandidates(5, 128, chunk_tokens=4))
    assert set(found) == {(i, k) for i, r in enumerate(requests) for k in range(1 + i)}
    for (i, k), steps in found.items():
        continuation = requests[i].continuations[k]
        logprobs = all_logprobs(config, params, requests[i], continuation)
        assert isinstance(steps, StepDistributions)
        assert steps.ids.shape == (len(continuation), 5)
        best = np.argsort(-logprobs, axis=-1, kind="stable")
        np.testing.assert_array_equal(steps.ids, best[:, :5])
        expected = np.take_along_axis(logprobs, best, axis=-1)
        np.testing.assert_allclose(steps.logprobs, expected[:, :5], atol=2e-4)
        tail = np.log(np.exp(expected[:, 5:]).sum(-1))
        np.testing.assert_allclose(steps.tail_logprobs, tail, atol=2e-4)
        assert steps.weights.tolist() == [1.0] * len(continuation)


def test_agrees_with_scoring(teacher):
    config, params, requests = teacher
    everything = score(config, params, requests, TopCandidates(128, 128))
    scores = Scorer(config, batch_size=2).score(params, requests)
    for (i, k), steps in everything.items():
        tokens = requests[i].continuations[k]
        chosen = steps.logprobs[steps.ids == tokens[:, None]]
        assert chosen.sum() == pytest.approx(scores[i][k].logprob_nats, abs=2e-4)
        assert (steps.tail_logprobs == -np.inf).all()


def test_temperature_flattens(teacher):
    config, params, requests = teacher
    (steps,) = score(config, params, requests[:1], TopCandidates(3, 128, 2.0)).values()
    logprobs = all_logprobs(config, params, requests[0], requests[0].continuations[0]) / 2
    logprobs -= np.log(np.exp(logprobs).sum(-1, keepdims=True))
    np.testing.assert_allclose(steps.logprobs, -np.sort(-logprobs)[:, :3], atol=2e-4)


def test_ids_beyond_the_vocabulary_are_tail_and_never_drawn(teacher):
    config, params, requests = teacher
    (steps,) = score(config, params, requests[:1], TopCandidates(4, 20)).values()
    logprobs = all_logprobs(config, params, requests[0], requests[0].continuations[0])
    assert steps.ids.max() < 20
    np.testing.assert_allclose(steps.logprobs, -np.sort(-logprobs[:, :20])[:, :4], atol=2e-4)
    sums = np.exp(steps.logprobs).sum(-1) + np.exp(steps.tail_logprobs)
    np.testing.assert_allclose(sums, 1, atol=1e-5)
    (drawn,) = score(config, params, requests[:1], Draws(64, 20)).values()
    assert drawn.ids.max() < 20


def test_draws_depend_on_key_and_place_alone(teacher):
    config, params, requests = teacher
    together = score(config, params, requests, Draws(12, 128, chunk_tokens=3))
    for i, request in enumerate(requests):
        for k, continuation in enumerate(request.continuations):
            alone = TeacherScorer(config, Draws(12, 128), batch_size=1)
            one = Request(request.context, [continuation])
            ((_, _, steps),) = alone.score(params, [one], [[KEYS[10 * i + k]]])
            np.testing.assert_array_equal(steps.ids, together[i, k].ids)
            np.testing.assert_array_equal(steps.logprobs, together[i, k].logprobs)
    other = TeacherScorer(config, Draws(12, 128), batch_size=1)
    ((_, _, steps),) = other.score(params, requests[:1], [["f" * 32]])
    assert (steps.ids != together[0, 0].ids).any()


def test_hidden_states_give_back_the_distribution(teacher):
    config, params, requests = teacher
    unembedding = models.unembedding(params, config)
    for (i, k), steps in score(config, params, requests, LastHidden()).items():
        assert isinstance(steps, HiddenSteps)
        assert steps.hidden.dtype == jnp.bfloat16
        logits = unembedding.logits(jnp.asarray(steps.hidden, jnp.float32))
        found = jax.nn.log_softmax(logits, axis=-1)
        expected = all_logprobs(config, params, requests[i], requests[i].continuations[k])
        # bfloat16 keeps 8 bits of each of 32 numbers.
        np.testing.assert_allclose(found, expected, atol=0.12)


@pytest.mark.parametrize("shape", [MeshShape(4, 1, 2), MeshShape(2, 2, 2)])
def test_same_on_a_mesh(teacher, shape):
    config, params, requests = teacher
    mesh = make_mesh(shape)
    shards = vocab_shards(128, mesh)
    assert shards == 2
    look = TopCandidates(5, 100, vocab_shards=shards)
    found = score(config, params, requests, look, mesh=mesh)
    for place, steps in score(config, params, requests, TopCandidates(5, 100)).items():
        np.testing.assert_array_equal(found[place].ids, steps.ids)
        np.testing.assert_allclose(found[place].logprobs, steps.logprobs, atol=1e-4)
        np.testing.assert_allclose(found[place].tail_logprobs, steps.tail_logprobs, atol=1e-4)


def test_no_device_gathers_the_logits_of_a_sharded_vocabulary():
    """Each finds the best of its own part; only these travel."""
    mesh = make_mesh(MeshShape(1, 1, 8))
    V = 8192
    look = TopCandidates(4, V, vocab_shards=vocab_shards(V, mesh))
    matrix = jnp.zeros((16, V), jnp.float32)
    axes = jax.sharding.PartitionSpec(None, "tensor")
    sharded = jax.device_put(matrix, jax.sharding.NamedSharding(mesh, axes))

    def run(hidden, matrix):
        from tlm_jax.types import Unembedding

        return look(hidden, Unembedding(matrix), {})

    with rules.use_rules(mesh):
        compiled = jax.jit(run).lower(jnp.zeros((2, 32, 16)), sharded).compile()
    gathered = [line for line in compiled.as_text().splitlines() if "all-gather(" in line]
    assert not [line for line in gathered if str(V) in line], gathered


@pytest.mark.parametrize("shards", [1, 4])
def test_equal_logits_are_counted_once(shards):
    logits = jnp.asarray([[[1.0, 2.0, 1.0, 1.0, 0.0, 1.0, -3.0, 1.0]]])
    found = top_candidates(logits, 2, num_ids=8, vocab_shards=shards)
    assert found.ids.tolist() == [[[1, 0]]]
    sums = jnp.exp(found.logprobs).sum(-1) + jnp.exp(found.tail_logprobs)
    np.testing.assert_allclose(sums, 1, rtol=1e-6)


def test_a_small_tail_keeps_its_digits():
    logits = jnp.asarray([[[40.0, 0.0, -1.0]]])
    found = top_candidates(logits, 1, num_ids=3)
    expected = np.log(np.exp(-40.0) + np.exp(-41.0))
    np.testing.assert_allclose(found.tail_logprobs, [[expected]], rtol=1e-6)


def test_draws_follow_the_distribution():
    """Chi-square over 1,300 tokens in three blocks, 60,000 draws: within five deviations."""
    rng = np.random.default_rng(1)
    logits = rng.normal(0, 1.5, 1300).astype(np.float32)
    logits[[7, 600]] = -np.inf
    N = 60_000
    uniform = uniforms(jnp.asarray([[[3, 4]]], jnp.uint32), jnp.zeros((1, 1), jnp.int32), N)
    drawn = np.asarray(draw(jnp.asarray(logits)[None, None], uniform))[0, 0]
    p = np.exp(logits.astype(np.float64))
    p /= p.sum()
    counts = np.bincount(drawn, minlength=1300)
    assert counts[p == 0].sum() == 0
    likely = p * N > 5
    rest = p[~likely].sum() * N
    chi = ((counts - p * N)[likely] ** 2 / (p * N)[likely]).sum()
    chi += (counts[~likely].sum() - rest) ** 2 / rest
    freedom = likely.sum()
    assert abs(chi - freedom) < 5 * np.sqrt(2 * freedom)


def test_draws_reach_improbable_tokens_of_a_large_vocabulary():
    """One uniform number over the whole has steps of 6e-8, and would draw every other one never."""
    V = 1 << 17
    logits = jnp.full((1, 1, V), -18.0).at[0, 0, 0].set(0.0)
    uniform = uniforms(jnp.asarray([[[1, 2]]], jnp.uint32), jnp.zeros((1, 1), jnp.int32), 200_000)
    drawn = np.asarray(draw(logits, uniform))[0, 0]
    rare = drawn[drawn > 0]
    share = (V - 1) * np.exp(-18.0)
    share /= 1 + share
    assert abs(len(rare) - share * 200_000) < 5 * np.sqrt(share * 200_000)
    assert len(set(rare % 512)) > 150


@given(st.lists(st.lists(st.integers(0, 4), min_size=6, max_size=6), min_size=1, max_size=5))
def test_counts_give_back_the_draws(rows):
    steps = counted(np.asarray(rows))
    for row, ids, logprobs in zip(rows, steps.ids, steps.logprobs):
        counts = np.rint(np.exp(logprobs) * 6).astype(int)
        found = [int(i) for i, n in zip(ids, counts) for _ in range(n)]
        assert sorted(found) == sorted(row)
        assert (np.diff(counts) <= 0).all()
        assert len(set(ids[counts > 0])) == (counts > 0).sum()
    assert (steps.tail_logprobs == -np.inf).all()
