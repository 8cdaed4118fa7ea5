"""A teacher's distributions over texts: exact candidates and tails, draws, hidden states."""

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tlm_jax import models
from tlm_jax.checkpoints.loading import load_params
from tlm_jax.checkpoints.pretrained import open_pretrained
from tlm_jax.scoring.continuations import Scorer
from tlm_jax.scoring.readouts import Draws, LastHidden, TopCandidates, draw, uniforms, vocab_shards
from tlm_jax.scoring.rows import Request
from tlm_jax.scoring.teacher import TeacherScorer
from tlm_jax.sharding import rules
from tlm_jax.sharding.mesh import MeshShape, make_mesh
from tlm_jax.teacher_cache.steps import HiddenSteps, StepDistributions

GOLDEN = Path(__file__).parents[1] / "golden" / "hf"
KEYS = [f"{n:032x}" for n in range(1 << 60, (1 << 60) + 40)]


REQUESTS = [
    Request(np.arange(3, 6 + n), [np.arange(40, 42 + n + k) * 7 % 100 for k in range(1 + n)])
    for n in range(3)
]
PLACES = [(i, k) for i, request in enumerate(REQUESTS) for k in range(len(request.continuations))]


@pytest.fixture(scope="module", params=["mt5", "llama_tied_linear_rope"])
def teacher(request):
    """A model, its parameters, and its whole distributions over all continuations."""
    source = open_pretrained(GOLDEN / request.param)
    config = dataclasses.replace(source.config, dtype="float32")
    params = jax.tree.map(jnp.asarray, load_params(source, config))
    return config, params, whole_distributions(config, params)


def whole_distributions(config, params):
    """Log-probabilities of all tokens at each place, float64, by `models.logits`."""
    rows = []
    for i, k in PLACES:
        context, continuation = REQUESTS[i].context, REQUESTS[i].continuations[k]
        if isinstance(config, models.EncoderDecoderConfig):
            inputs = np.asarray([0, *continuation[:-1]])
            row = {"encoder_input_tokens": context, "encoder_segment_ids": np.ones_like(context)}
        else:
            inputs, row = np.concatenate([context, continuation])[:-1], {}
        row |= {"decoder_input_tokens": inputs, "decoder_target_tokens": inputs}
        rows.append(row | {"decoder_segment_ids": np.ones_like(inputs)})
    batch = {
        name: jnp.asarray([np.pad(row[name], (0, 16 - len(row[name]))) for row in rows], jnp.int32)
        for name in rows[0]
    }
    logits = np.asarray(jax.jit(models.logits, static_argnums=2)(params, batch, config), np.float64)
    logits -= logits.max(-1, keepdims=True)
    logits -= np.log(np.exp(logits).sum(-1, keepdims=True))
    found = {}
    for place, row, values in zip(PLACES, rows, logits):
        count = len(REQUESTS[place[0]].continuations[place[1]])
        end = len(row["decoder_input_tokens"])
        found[place] = values[end - count : end]
    return found


def score(teacher, look, requests=REQUESTS, **options):
    config, params, _ = teacher
    keys = [KEYS[10 * i :][: len(r.continuations)] for i, r in enumerate(requests)]
    scorer = TeacherScorer(config, look, batch_size=2, **options)
    return {(i, k): steps for i, k, steps in scorer.score(params, requests, keys)}


def test_candidates_and_tail_are_those_of_the_whole_distribution(teacher):
    found = score(teacher, TopCandidates(5, 128, chunk_tokens=4))
    assert set(found) == set(PLACES)
    for place, steps in found.items():
        logprobs = teacher[2][place]
        assert isinstance(steps, StepDistributions)
        assert steps.ids.shape == (len(logprobs), 5)
        best = np.argsort(-logprobs, axis=-1, kind="stable")
        np.testing.assert_array_equal(steps.ids, best[:, :5])
        expected = np.take_along_axis(logprobs, best, axis=-1)
        np.testing.assert_allclose(steps.logprobs, expected[:, :5], atol=2e-4)
        tail = np.log(np.exp(expected[:, 5:]).sum(-1))
        np.testing.assert_allclose(steps.tail_logprobs, tail, atol=2e-4)
        assert steps.weights.tolist() == [1.0] * len(logprobs)


def test_agrees_with_scoring(teacher):
    config, params, _ = teacher
    everything = score(teacher, TopCandidates(128, 128))
    scores = Scorer(config, batch_size=2).score(params, REQUESTS)
    for (i, k), steps in everything.items():
        tokens = REQUESTS[i].continuations[k]
        chosen = steps.logprobs[steps.ids == tokens[:, None]]
        assert chosen.sum() == pytest.approx(scores[i][k].logprob_nats, abs=2e-4)
        assert (steps.tail_logprobs == -np.inf).all()


def test_temperature_flattens(teacher):
    (steps,) = score(teacher, TopCandidates(3, 128, 2.0), REQUESTS[:1]).values()
    logprobs = teacher[2][0, 0] / 2
    logprobs -= np.log(np.exp(logprobs).sum(-1, keepdims=True))
    np.testing.assert_allclose(steps.logprobs, -np.sort(-logprobs)[:, :3], atol=2e-4)


def test_ids_beyond_the_vocabulary_are_tail_and_never_drawn(teacher):
    (steps,) = score(teacher, TopCandidates(4, 20), REQUESTS[:1]).values()
    logprobs = teacher[2][0, 0]
    assert steps.ids.max() < 20
    np.testing.assert_allclose(steps.logprobs, -np.sort(-logprobs[:, :20])[:, :4], atol=2e-4)
    sums = np.exp(steps.logprobs).sum(-1) + np.exp(steps.tail_logprobs)
    np.testing.assert_allclose(sums, 1, atol=1e-5)
    (drawn,) = score(teacher, Draws(64, 20), REQUESTS[:1]).values()
    assert drawn.ids.max() < 20


def test_draws_depend_on_key_and_place_alone(teacher):
    config, params, _ = teacher
    together = score(teacher, Draws(12, 128, chunk_tokens=3))
    scorer = TeacherScorer(config, Draws(12, 128), batch_size=1)
    for i, k in PLACES:
        one = Request(REQUESTS[i].context, [REQUESTS[i].continuations[k]])
        ((_, _, alone),) = scorer.score(params, [one], [[KEYS[10 * i + k]]])
        np.testing.assert_array_equal(alone.ids, together[i, k].ids)
        np.testing.assert_array_equal(alone.logprobs, together[i, k].logprobs)
    ((_, _, other),) = scorer.score(params, REQUESTS[:1], [["f" * 32]])
    assert (other.ids != together[0, 0].ids).any()


def test_hidden_states_give_back_the_distribution(teacher):
    config, params, whole = teacher
    unembedding = models.unembedding(params, config)
    for place, steps in score(teacher, LastHidden()).items():
        assert isinstance(steps, HiddenSteps)
        assert steps.hidden.dtype == jnp.bfloat16
        logits = unembedding.logits(jnp.asarray(steps.hidden, jnp.float32))
        found = jax.nn.log_softmax(logits, axis=-1)
        # bfloat16 keeps 8 bits of each of 32 numbers.
        np.testing.assert_allclose(found, whole[place], atol=0.12)


def test_same_on_a_mesh(teacher):
    mesh = make_mesh(MeshShape(2, 2, 2))
    shards = vocab_shards(128, mesh)
    assert shards == 2
    look = TopCandidates(5, 100, vocab_shards=shards)
    found = score(teacher, look, mesh=mesh)
    for place, steps in score(teacher, TopCandidates(5, 100)).items():
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
