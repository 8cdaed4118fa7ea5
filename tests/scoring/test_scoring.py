"""Scores equal the plain forward pass of each option by itself, and what transformers recorded."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_models import GOLDEN, load
from hypothesis import given
from hypothesis import strategies as st

from tlm_jax import models
from tlm_jax.errors import UserError
from tlm_jax.scoring import rows as scoring_rows
from tlm_jax.scoring.continuations import Score, Scorer, choose
from tlm_jax.scoring.rows import Request, padded_length, rows_of, to_batch
from tlm_jax.scoring.text import TextRequest, encode_decoder_only, encode_encoder_decoder
from tlm_jax.sharding.mesh import MeshShape, make_mesh
from tlm_jax.vocabularies import vocabulary_from_name

FAMILIES = sorted(path.parent.name for path in GOLDEN.glob("*/reference.npz"))
LOGITS = jax.jit(models.logits, static_argnames="config")
SIZES = {"vocab_size": 32, "embed_dim": 16, "num_heads": 4, "head_dim": 4, "mlp_dim": 32}


def _plain(params, config, context, continuation, length=20):
    """Log p of each token of a continuation by `models.logits` over the whole text, padded."""
    if isinstance(config, models.EncoderDecoderConfig):
        inputs = np.asarray([0, *continuation[:-1]])
        batch = {
            "encoder_input_tokens": context,
            "encoder_segment_ids": np.ones_like(context),
            "decoder_input_tokens": inputs,
            "decoder_target_tokens": np.asarray(continuation),
            "decoder_segment_ids": np.ones_like(inputs),
        }
    else:
        inputs = np.concatenate([context, continuation])[:-1]
        batch = {
            "decoder_input_tokens": inputs,
            "decoder_target_tokens": inputs,
            "decoder_segment_ids": np.ones_like(inputs),
        }
    rows = {
        name: jnp.asarray(np.pad(array, (0, length - len(array))), jnp.int32)[None]
        for name, array in batch.items()
    }
    logits = np.asarray(LOGITS(params, rows, config)[0], np.float64)
    logits = logits[len(inputs) - len(continuation) : len(inputs)]
    logprobs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    greedy = bool((logits.argmax(-1) == continuation).all())
    return logprobs[np.arange(len(continuation)), continuation], greedy


def _requests(vocab_size, rng, count=5):
    return [
        Request(
            rng.integers(3, vocab_size, int(rng.integers(1, 9))),
            [rng.integers(3, vocab_size, int(n)) for n in rng.integers(1, 5, 1 + number % 4)],
        )
        for number in range(count)
    ]


@pytest.mark.parametrize("family", FAMILIES)
def test_equals_plain_forward_pass(family):
    config, params = load(family)
    requests = _requests(config.vocab_size, np.random.default_rng(0), 3)
    scores = Scorer(config, batch_size=2).score(params, requests)
    assert [len(s) for s in scores] == [len(r.continuations) for r in requests]
    for request, found in zip(requests, scores):
        for continuation, score in zip(request.continuations, found):
            expected, greedy = _plain(params, config, request.context, continuation)
            assert score.logprob_nats == pytest.approx(expected.sum(), abs=1e-4)
            assert score.value("tokens") == pytest.approx(expected.mean(), abs=1e-4)
            assert (score.num_tokens, score.greedy) == (len(continuation), greedy)
            assert score.dropped_context_tokens == 0


@pytest.mark.parametrize("family", [f for f in FAMILIES if f != "mt5"])
def test_equals_what_transformers_recorded(family):
    config, params = load(family)
    with np.load(GOLDEN / family / "reference.npz") as recorded:
        texts = [
            ids[mask > 0] for ids, mask in zip(recorded["input_ids"], recorded["attention_mask"])
        ]
        sums = recorded["continuation_sum"]
        counts = recorded["continuation_mask"].sum(axis=1)
    requests = [
        Request(t[: len(t) - int(n)], [t[len(t) - int(n) :]]) for t, n in zip(texts, counts)
    ]
    scores = Scorer(config, batch_size=4).score(params, requests)
    np.testing.assert_allclose([s[0].logprob_nats for s in scores], sums, rtol=2e-5)


def _tiny(**changes):
    config = models.DecoderOnlyConfig(**SIZES, num_layers=2, **changes)
    params = models.init(jax.random.key(1), config)
    params["decoder"]["logits_dense"]["kernel"] *= 4
    return config, params


def test_most_probable_continuation_is_greedy():
    config, params = _tiny()
    context = np.asarray([0, 5, 9])
    tokens = []
    for _ in range(3):
        batch = {"decoder_input_tokens": jnp.zeros((1, 20), jnp.int32)}
        batch["decoder_segment_ids"] = batch["decoder_target_tokens"] = jnp.ones((1, 20), jnp.int32)
        text = [*context, *tokens]
        batch["decoder_input_tokens"] = (
            batch["decoder_input_tokens"].at[0, : len(text)].set(jnp.asarray(text))
        )
        tokens.append(int(LOGITS(params, batch, config)[0, len(text) - 1].argmax()))
    other = [*tokens[:2], (tokens[2] + 1) % 32]
    (scores,) = Scorer(config, batch_size=1).score(
        params, [Request(context, [np.asarray(tokens), np.asarray(other)])]
    )
    assert [s.greedy for s in scores] == [True, False]
    assert choose(scores) == 0


@pytest.mark.parametrize("mesh", [MeshShape(4, 1, 2), MeshShape(2, 2, 2)])
def test_same_on_a_mesh(mesh):
    config, params = _tiny()
    requests = _requests(32, np.random.default_rng(2), 7)
    alone = Scorer(config, batch_size=3).score(params, requests)
    spread = Scorer(config, batch_size=3, mesh=make_mesh(mesh)).score(params, requests)
    for one, other in zip(alone, spread):
        for a, b in zip(one, other):
            assert a.logprob_nats == pytest.approx(b.logprob_nats, abs=1e-4)


def test_small_chunks_of_logits_change_nothing():
    config, params = _tiny()
    requests = _requests(32, np.random.default_rng(3))
    whole = Scorer(config, batch_size=2).score(params, requests)
    parts = Scorer(config, batch_size=2, chunk_tokens=5).score(params, requests)
    for one, other in zip(whole, parts):
        np.testing.assert_allclose([s[0] for s in one], [s[0] for s in other], atol=1e-5)


def test_cuts_from_the_left_as_if_each_option_stood_alone():
    # 10 + 1 tokens kept, the last is not read: methods of the harnesses, option by option.
    config, params = _tiny(position="learned", max_positions=10)
    rng = np.random.default_rng(4)
    context = rng.integers(1, 32, 12)
    continuations = [rng.integers(1, 32, n) for n in (2, 5, 2, 10)]
    (scores,) = Scorer(config, batch_size=2).score(params, [Request(context, continuations)])
    for continuation, score in zip(continuations, scores):
        kept = np.concatenate([context, continuation])[-11:][: -len(continuation)]
        expected, _ = _plain(params, config, kept, continuation, 10)
        assert score.logprob_nats == pytest.approx(expected.sum(), abs=1e-4)
        assert score.dropped_context_tokens == len(context) - len(kept)


def test_cuts_an_encoder_s_input_from_the_left():
    request = Request(np.arange(1, 9), [np.asarray([1, 2])])
    (row,) = rows_of(0, request, bos_id=0, max_length=None, max_context_length=3)
    assert row.encoder.tolist() == [6, 7, 8]
    assert (row.trunk.tolist(), row.dropped_tokens) == ([0], 5)


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (Request(np.zeros(0, int), [np.ones(1, int)]), "request 0 has no context"),
        (Request(np.ones(1, int), [np.zeros(0, int)]), "request 0 has an empty continuation"),
        (Request(np.ones(1, int), [np.ones(5, int)]), "a continuation of 5 tokens, but the model"),
    ],
)
def test_says_what_cannot_be_scored(request_, message):
    with pytest.raises(UserError, match=message):
        list(rows_of(0, request_, bos_id=None, max_length=4))


def test_letters_add_nothing_to_the_context():
    request = Request(np.arange(1, 9), [np.asarray([i]) for i in range(5)])
    (row,) = rows_of(0, request, bos_id=None, max_length=None)
    assert (row.width, row.num_targets) == (8, 5)
    batch = to_batch([row], 1)
    assert batch["source"][0, :5].tolist() == [7] * 5
    assert (batch["decoder_branch_ids"] > 0).sum() == 0


def test_very_many_options_get_further_rows(monkeypatch):
    monkeypatch.setattr(scoring_rows, "MOST_BRANCH_TOKENS", 6)
    config, params = _tiny()
    request = Request(np.arange(1, 5), [np.full(2, i) for i in range(1, 8)])
    rows = list(rows_of(0, request, bos_id=None, max_length=None))
    assert [row.options for row in rows] == [(0, 1, 2), (3, 4, 5), (6,)]
    (scores,) = Scorer(config, batch_size=2).score(params, [request])
    expected = [_plain(params, config, request.context, c)[0].sum() for c in request.continuations]
    np.testing.assert_allclose([s.logprob_nats for s in scores], expected, atol=1e-4)


@given(st.integers(1, 100_000), st.sampled_from([8, 32]))
def test_padded_lengths_hold_and_waste_little(length, smallest):
    padded = padded_length(length, smallest)
    assert padded >= length
    assert padded == smallest or padded <= length * 1.25 + 1
    assert padded_length(padded, smallest) == padded


def test_choice_by_sum_and_by_mean():
    scores = [Score(-3.0, 1, False, 0), Score(-4.0, 4, False, 0), Score(-3.0, 1, False, 0)]
    assert choose(scores) == 0  # the first of equals
    assert choose(scores, "tokens") == 1
    with pytest.raises(UserError, match="no option"):
        choose([])


def test_warns_of_a_border_that_the_tokenizer_would_not_make():
    vocabulary = vocabulary_from_name("asset:word_problems")
    requests = [TextRequest("Q: How many? A: The answer is (", ["A", "B"])]
    with pytest.warns(UserWarning, match="2 of 2 continuations are other tokens"):
        encoded, check = encode_decoder_only(requests, vocabulary, vocabulary.bos_id)
    assert (check.pairs, check.different) == (2, 2)
    assert check.example == (requests[0].context, "A")
    assert encoded[0].context[0] == vocabulary.bos_id
    assert vocabulary.decode(encoded[0].context[1:]) == requests[0].context
    assert [vocabulary.decode(c) for c in encoded[0].continuations] == ["A", "B"]


def test_bytes_have_no_such_border(recwarn):
    requests = [TextRequest("The answer is (", ["A", "B)"]), TextRequest("so", [" no"])]
    encoded, check = encode_decoder_only(requests, vocabulary_from_name("byte"), None)
    assert (check.pairs, check.different, check.example) == (3, 0, None)
    assert not recwarn
    assert [len(r.continuations) for r in encoded] == [2, 1]


def test_without_bos_only_an_empty_context_has_something_in_front():
    vocabulary = vocabulary_from_name("byte")
    requests = [TextRequest("so", [" no"]), TextRequest("", ["no"])]
    (text, empty), _ = encode_decoder_only(requests, vocabulary, None)
    assert text.context.tolist() == vocabulary.encode("so").tolist()
    assert empty.context.tolist() == [vocabulary.bos_id]


def test_encoder_and_decoder_have_ends_of_their_own():
    vocabulary = vocabulary_from_name("byte")
    (request,) = encode_encoder_decoder([TextRequest("ab", ["c"])], vocabulary)
    assert request.context.tolist() == [*vocabulary.encode("ab"), vocabulary.eos_id]
    assert request.continuations[0].tolist() == vocabulary.encode("c").tolist()
    (request,) = encode_encoder_decoder(
        [TextRequest("ab", ["c"])], vocabulary, context_eos=False, continuation_eos=True
    )
    assert request.context.tolist() == vocabulary.encode("ab").tolist()
    assert request.continuations[0][-1] == vocabulary.eos_id
