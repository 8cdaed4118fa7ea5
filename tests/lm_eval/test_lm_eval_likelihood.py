"""Likelihoods equal the plain forward pass, in the order asked, whatever is scored together."""

from __future__ import annotations

import copy

import numpy as np
import pytest

from tlm_jax.errors import UserError
from tlm_jax.lm_eval import likelihood
from tlm_jax.lm_eval.likelihood import Likelihoods
from tlm_jax.lm_eval.rows import Rows
from tlm_jax.lm_eval.texts import Pair

RANDOM = np.random.default_rng(5)


def words(count: int) -> list[int]:
    return RANDOM.integers(5, 100, count).tolist()


CONTEXTS = [words(6), words(3), words(9)]
PAIRS = [Pair(CONTEXTS[i % 3], words(1 + i % 4)) for i in range(10)]


@pytest.mark.parametrize("kind", ["decoder", "encoder_decoder"])
def test_scores_are_those_of_the_plain_forward_pass(kind, opened, plain_logits, monkeypatch):
    monkeypatch.setattr(likelihood, "BATCHES_BETWEEN_REPORTS", 1)
    told = {}
    scores = Likelihoods(opened[kind], Rows(4)).score(PAIRS, told.__setitem__)
    assert [told[index] for index in range(len(PAIRS))] == scores
    for pair, (logprob, greedy) in zip(PAIRS, scores):
        logits = plain_logits(opened[kind], *pair)
        logprobs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        chosen = logprobs[np.arange(len(pair.continuation)), pair.continuation]
        assert logprob == pytest.approx(chosen.sum(), abs=1e-4)
        assert greedy == (logits.argmax(-1) == pair.continuation).all()


@pytest.mark.parametrize("kind", ["decoder", "encoder_decoder"])
def test_the_most_probable_continuation_is_greedy(kind, opened, plain_logits):
    context, text = words(5), []
    for _ in range(3):
        text.append(int(plain_logits(opened[kind], context, [*text, 5])[-1].argmax()))
    other = [*text[:-1], 5 if text[-1] != 5 else 6]
    scores = Likelihoods(opened[kind], Rows(4)).score([Pair(context, text), Pair(context, other)])
    assert [greedy for _, greedy in scores] == [True, False]


def test_a_context_that_is_too_long_keeps_its_end_and_is_counted(opened):
    model = opened["decoder"]
    long, text = words(40), words(3)
    likelihoods = Likelihoods(model, Rows(4))
    cut, whole = likelihoods.score([Pair(long, text), Pair(long[-22:], text)])
    assert model.window_tokens == 24
    assert cut == pytest.approx(whole, abs=1e-5)
    assert likelihoods.cut == 1


def test_an_empty_continuation_is_certain(opened):
    told = {}
    scores = Likelihoods(opened["decoder"], Rows(4)).score([Pair([5], [])], told.__setitem__)
    assert scores == [(0.0, True)] == [told[0]]
    assert Likelihoods(opened["decoder"], Rows(4)).score([]) == []


def test_a_continuation_longer_than_the_window_is_told_before_any_work(opened):
    model = copy.copy(opened["decoder"])
    model._params = [{}]
    with pytest.raises(UserError, match=r"a continuation has 25 tokens .* the model reads 24"):
        Likelihoods(model, Rows(4)).score([Pair([5], words(2)), Pair([5], words(25))])


def test_many_continuations_of_one_context_are_split_into_rows(opened, monkeypatch):
    texts = [[first, 7] for first in range(5, 14)]
    together = Likelihoods(opened["decoder"], Rows(4)).score([Pair([5], text) for text in texts])
    monkeypatch.setattr(likelihood, "_MOST_OPTIONS", 2)
    apart = Likelihoods(opened["decoder"], Rows(4)).score([Pair([5], text) for text in texts])
    assert np.array(apart)[:, 0] == pytest.approx(np.array(together)[:, 0], abs=1e-5)
