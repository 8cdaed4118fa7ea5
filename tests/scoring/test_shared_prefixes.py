"""What many contexts begin with is worked on once; scores are those of whole contexts."""

import dataclasses

import numpy as np
import pytest
from golden_models import load

from tlm_jax.decoding import common_prefixes
from tlm_jax.scoring.continuations import Scorer
from tlm_jax.scoring.readouts import Draws, LastHidden, TopCandidates
from tlm_jax.scoring.rows import Request, Row, rows_of, to_batch
from tlm_jax.scoring.teacher import TeacherScorer
from tlm_jax.sharding.mesh import MeshShape, make_mesh

SHARED = 14


@pytest.fixture
def short_prefixes(monkeypatch):
    """Has prefixes of a few tokens shared, too."""
    monkeypatch.setattr(common_prefixes, "FEWEST_TOKENS", 4)
    monkeypatch.setattr(common_prefixes, "WORTH_TOKENS_A_ROW", 1)


def _requests(vocab_size, *, seed=0):
    """Returns requests with one of two beginnings, and one without."""
    rng = np.random.default_rng(seed)

    def draw(length):
        return rng.integers(3, vocab_size, length)

    beginnings = [draw(SHARED), draw(SHARED - 3)]
    contexts = [np.concatenate([beginnings[n % 2], draw(1 + n)]) for n in range(5)] + [draw(4)]
    return [Request(c, [draw(1 + k) for k in range(1 + n % 3)]) for n, c in enumerate(contexts)]


def _worked_on(monkeypatch):
    """Returns the list that every row that is made into a batch goes to."""
    made = []

    def watched(rows, num_rows):
        made.extend(rows)
        return to_batch(rows, num_rows)

    monkeypatch.setattr("tlm_jax.scoring.forced.to_batch", watched)
    return made


@pytest.mark.parametrize("family", ["gpt_neo", "gemma3_text", "llama_tied_linear_rope", "mt5"])
def test_scores(family, monkeypatch, request):
    config, params = load(family)
    requests = _requests(config.vocab_size)
    expected = Scorer(config, batch_size=2).score(params, requests)
    request.getfixturevalue("short_prefixes")
    rows = _worked_on(monkeypatch)
    found = Scorer(config, batch_size=2).score(params, requests)
    for got, wanted in zip(found, expected, strict=True):
        for one, other in zip(got, wanted, strict=True):
            assert one.logprob_nats == pytest.approx(other.logprob_nats, abs=1e-5)
            assert one[1:] == other[1:]
    skipped = sorted(row.prefix_tokens for row in rows)
    shared = [0, SHARED - 3, SHARED - 3, SHARED, SHARED, SHARED]
    assert skipped == ([0] * 6 if config.is_encoder_decoder else shared)


def test_scores_on_a_mesh(short_prefixes, monkeypatch):
    config, params = load("llama_tied_linear_rope")
    requests = _requests(config.vocab_size, seed=1)
    expected = Scorer(config, batch_size=4).score(params, requests)
    rows = _worked_on(monkeypatch)
    mesh = make_mesh(MeshShape(2, 2, 2))
    found = Scorer(config, batch_size=4, mesh=mesh).score(params, requests)
    assert any(row.prefix_tokens for row in rows)
    for got, wanted in zip(found, expected, strict=True):
        for one, other in zip(got, wanted, strict=True):
            assert one.logprob_nats == pytest.approx(other.logprob_nats, abs=1e-5)


@pytest.mark.parametrize("look", [TopCandidates(5, 128), Draws(6, 128), LastHidden()], ids=repr)
def test_teachers_distributions(look, request):
    config, params = load("llama_tied_linear_rope")
    requests = _requests(config.vocab_size)
    keys = [[f"{100 * n + k:032x}" for k in range(3)] for n in range(len(requests))]

    def steps():
        scorer = TeacherScorer(config, look, batch_size=2)
        return {(n, k): found for n, k, found in scorer.score(params, requests, keys)}

    expected = steps()
    request.getfixturevalue("short_prefixes")
    found = steps()
    assert found.keys() == expected.keys()
    for place, got in found.items():
        for field in dataclasses.fields(got):
            one, other = (np.asarray(getattr(x, field.name)) for x in (got, expected[place]))
            if one.dtype.kind == "i":
                np.testing.assert_array_equal(one, other)
            else:
                # Hidden states are bfloat16.
                tolerance = 0.02 if isinstance(look, LastHidden) else 1e-5
                np.testing.assert_allclose(
                    one.astype(np.float32), other.astype(np.float32), atol=tolerance
                )


def test_rows_behind_a_prefix_go_on_at_its_end():
    context, continuations = np.arange(3, 10), [np.array([20, 21, 22]), np.array([30, 31])]
    (row,) = rows_of(0, Request(context, continuations), bos_id=None, max_length=None)
    batch = to_batch([row.behind(5)], 1)
    assert isinstance(row, Row)
    assert batch["decoder_input_tokens"][0, :5].tolist() == [8, 9, 20, 21, 30]
    assert batch["decoder_branch_ids"][0, :6].tolist() == [0, 0, 1, 1, 2, -1]
    assert batch["decoder_positions"][0, :5].tolist() == [5, 6, 7, 8, 7]
    assert batch["source"][0, :5].tolist() == [1, 2, 3, 1, 4]
    assert batch["target"][0, :5].tolist() == [20, 21, 22, 30, 31]
