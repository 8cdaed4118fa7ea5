"""Samples of `tlm_jax.infer` with candidates, as its file holds them."""

import numpy as np
import pytest
from json_lines import write

from tlm_jax.data.teacher_imports import own_samples
from tlm_jax.data.teacher_imports.captured import TokenSteps, Unusable
from tlm_jax.errors import UserError
from tlm_jax.vocabularies.token_bytes import TokenTable

TABLE = TokenTable((b"", b" a", b"b", b"c"), frozenset({0}), 0, "x")


def own(**changes):
    candidate = {"token_ids": [1, 2], "logprobs": [-0.5, -1.5], "outside_logprob": -1.8}
    return {
        "id": "q",
        "sample": 0,
        "question": "Q?",
        "text": "ab",
        "finish_reason": "eos",
        "token_ids": [1, 2, 0],
        "candidates": [candidate, candidate, candidate],
        "gold": "4",
        "rule": "numeric",
        "correct": False,
        **changes,
    }


def test_our_own_samples(tmp_path):
    certain = {"token_ids": [1, 2], "logprobs": [0.0, -99.0], "outside_logprob": None}
    candidates = [*own()["candidates"][:2], certain]
    path = write(tmp_path / "s.jsonl", own(candidates=candidates))
    (found,) = own_samples.read_samples(path, TABLE)
    assert (found.id, found.question, found.answer, found.correct) == ("q/0", "Q?", "4", False)
    assert isinstance(found.steps, TokenSteps)
    kept = own_samples.within_text(found.steps, "ab", TABLE)
    assert kept.token_ids.tolist() == [1, 2, 0]
    assert kept.steps.tail_logprobs.tolist() == pytest.approx([-1.8, -1.8, -np.inf])
    # What comes behind the text, such as a stop string, is no part of it.
    assert own_samples.within_text(found.steps, "a", TABLE).token_ids.tolist() == [1]
    with pytest.raises(Unusable):
        own_samples.within_text(found.steps, "c", TABLE)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"id": "q"}, "no field 'sample'"),
        (own(token_ids=[1, 2]), "do not fit: 2 tokens"),
        (own(token_ids=[1, 2, 9]), "token 9 is beyond the 4 of the vocabulary"),
        (own(candidates=[{"token_ids": [1]}] * 3), "do not fit"),
        (own(question=None), "s.jsonl:1: the question is NoneType, expected text"),
        (own(text=5), "s.jsonl:1: the text is int, expected text"),
    ],
)
def test_samples_that_are_none(tmp_path, row, message):
    with pytest.raises(UserError, match=message):
        list(own_samples.read_samples(write(tmp_path / "s.jsonl", row), TABLE))


def test_samples_without_candidates_have_no_steps(tmp_path):
    path = write(tmp_path / "s.jsonl", own(candidates=None), own(token_ids=None))
    assert [c.steps for c in own_samples.read_samples(path, TABLE)] == [None, None]
