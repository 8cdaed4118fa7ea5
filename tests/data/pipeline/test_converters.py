"""Batches equal those of SeqIO's feature converters, and carry what those cannot."""

import numpy as np
import pytest
import seqio
import tensorflow as tf

from tlm_jax.data.pipeline.converter import Converter, check_token_ids
from tlm_jax.data.pipeline.converters import (
    DecoderOnlyConverter,
    EncoderDecoderConverter,
    make_converter,
)
from tlm_jax.errors import UserError
from tlm_jax.ragged import Ragged, TokenizedExamples

EXAMPLES = [
    {"inputs": [7, 8, 5, 1], "targets": [3, 9, 1]},
    {"inputs": [8, 4, 9, 3, 1], "targets": [4, 1]},
]


def tokenized(examples, **more):
    features = {
        name: Ragged.from_arrays([np.array(e[name], np.int32) for e in examples], np.int32)
        for name in examples[0]
    }
    ids = tuple(str(i) for i in range(len(examples)))
    return TokenizedExamples({**features, **more}, ids, tuple({"id": i} for i in ids))


def convert(converter: Converter, examples, rows=None, num_rows=1, **more):
    prepared = converter.prepare(tokenized(examples, **more))
    packed = rows is not None
    rows = np.arange(len(examples)) if rows is None else np.array(rows)
    num_rows = num_rows if packed else len(examples)
    return converter.convert(prepared, rows, num_rows, packed=packed)


def by_seqio(converter, examples, lengths):
    signature = {name: tf.TensorSpec([None], tf.int32) for name in examples[0]}
    dataset = tf.data.Dataset.from_generator(lambda: iter(examples), output_signature=signature)
    trimmed = seqio.utils.trim_dataset(
        dataset, lengths, {name: seqio.Feature(seqio.ByteVocabulary()) for name in lengths}
    )
    rows = list(converter(trimmed, lengths).as_numpy_iterator())
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def assert_same(ours, theirs):
    assert sorted(ours) == sorted(theirs)
    for name in ours:
        np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)
    assert ours["decoder_loss_weights"].dtype == np.float32


@pytest.mark.parametrize("lengths", [(10, 7), (5, 3), (3, 2)])
@pytest.mark.parametrize("packed", [False, True])
def test_encoder_decoder_equals_seqio(lengths, packed):
    lengths = {"inputs": lengths[0], "targets": lengths[1]}
    theirs = by_seqio(seqio.EncDecFeatureConverter(pack=packed), EXAMPLES, lengths)
    num_rows = len(theirs["decoder_loss_weights"])
    rows = ([0, 0] if num_rows == 1 else [0, 1]) if packed else None
    ours = convert(EncoderDecoderConverter(lengths), EXAMPLES, rows, num_rows)
    assert_same(ours, theirs)


@pytest.mark.parametrize("lengths", [(7, 8), (10, 4), (4, 3), (2, 1)])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("targets_only", [True, False])
def test_prefix_language_model_equals_seqio(lengths, packed, targets_only):
    lengths = {"inputs": lengths[0], "targets": lengths[1]}
    theirs = by_seqio(
        seqio.PrefixLMFeatureConverter(pack=packed, loss_on_targets_only=targets_only),
        EXAMPLES,
        lengths,
    )
    num_rows = len(theirs["decoder_loss_weights"])
    rows = ([0, 0] if num_rows == 1 else [0, 1]) if packed else None
    converter = DecoderOnlyConverter(lengths, loss_on_targets_only=targets_only)
    assert_same(convert(converter, EXAMPLES, rows, num_rows), theirs)


@pytest.mark.parametrize("packed", [False, True])
def test_language_model_equals_seqio(packed):
    examples = [{"targets": e["targets"]} for e in EXAMPLES]
    theirs = by_seqio(seqio.LMFeatureConverter(pack=packed), examples, {"targets": 8})
    rows = [0, 0] if packed else None
    assert_same(convert(DecoderOnlyConverter({"targets": 8}), examples, rows), theirs)


def test_a_prompt_without_targets_equals_seqio():
    examples = [{"inputs": [7, 8, 1], "targets": []}, {"inputs": [9, 1], "targets": []}]
    lengths = {"inputs": 4, "targets": 2}
    theirs = by_seqio(seqio.PrefixLMFeatureConverter(pack=False), examples, lengths)
    assert_same(convert(DecoderOnlyConverter(lengths), examples), theirs)


def test_zero_is_a_token_like_any_other():
    examples = [{"inputs": [0, 5], "targets": [5, 0, 7, 0]}]
    lengths = {"inputs": 3, "targets": 5}
    batch = convert(EncoderDecoderConverter(lengths, mark_padding=True), examples)
    assert batch["decoder_loss_weights"].tolist() == [[1, 1, 1, 1, 0]]
    assert batch["encoder_segment_ids"].tolist() == [[1, 1, 0]]
    assert batch["decoder_segment_ids"].tolist() == [[1, 1, 1, 1, 0]]
    batch = convert(DecoderOnlyConverter(lengths), examples, [0])
    assert batch["decoder_target_tokens"].tolist() == [[0, 5, 5, 0, 7, 0, 0, 0]]
    assert batch["decoder_loss_weights"].tolist() == [[0, 0, 1, 1, 1, 1, 0, 0]]
    assert batch["decoder_segment_ids"].tolist() == [[1, 1, 1, 1, 1, 1, 0, 0]]


def test_every_segment_starts_with_bos():
    converter = EncoderDecoderConverter({"inputs": 10, "targets": 7}, bos_id=2)
    batch = convert(converter, EXAMPLES, [0, 0])
    assert batch["decoder_input_tokens"].tolist() == [[2, 3, 9, 2, 4, 0, 0]]
    batch = convert(converter, EXAMPLES)
    assert batch["decoder_input_tokens"].tolist() == [[2, 3, 9, 1, 0, 0, 0], [2, 4, 1, 0, 0, 0, 0]]


@pytest.mark.parametrize("decoder_only", [False, True])
def test_aligned_features_stand_at_their_targets(decoder_only):
    steps = [np.arange(2 * n, dtype=np.float32).reshape(n, 2) - 1.7 for n in (3, 2)]
    aligned = {"teacher_logprobs": -np.inf}
    lengths = {"inputs": 9, "targets": 7}
    kind = DecoderOnlyConverter if decoder_only else EncoderDecoderConverter
    converter = kind(lengths, aligned=aligned)
    batch = convert(
        converter, EXAMPLES, [0, 0], teacher_logprobs=Ragged.from_arrays(steps, np.float32)
    )
    placed = batch["teacher_logprobs"]
    weights = batch["decoder_loss_weights"].astype(bool)
    assert placed.dtype == np.float32
    np.testing.assert_array_equal(placed[weights], np.concatenate(steps))
    assert np.all(placed[~weights] == -np.inf)
    # Cut with their targets.
    batch = convert(
        kind({"inputs": 9, "targets": 2}, aligned=aligned),
        EXAMPLES,
        [0, 1],
        2,
        teacher_logprobs=Ragged.from_arrays(steps, np.float32),
    )
    weights = batch["decoder_loss_weights"].astype(bool)
    expected = np.concatenate([step[:2] for step in steps])
    np.testing.assert_array_equal(batch["teacher_logprobs"][weights], expected)


def test_rows_without_examples_weigh_nothing():
    converter = DecoderOnlyConverter({"inputs": 5, "targets": 3})
    prepared = converter.prepare(tokenized(EXAMPLES)).take(np.array([1]))
    batch = converter.convert(prepared, np.array([1]), 3, packed=False)
    assert batch["decoder_loss_weights"].sum(axis=1).tolist() == [0, 2, 0]
    assert batch["decoder_target_tokens"].sum(axis=1).tolist() == [0, 30, 0]


def test_truncation_is_found():
    converter = EncoderDecoderConverter({"inputs": 4, "targets": 2})
    found = converter.find_truncated(tokenized(EXAMPLES))
    lengths = [(len(e["inputs"]), len(e["targets"])) for e in EXAMPLES]
    assert found["inputs"].tolist() == [inputs > 4 for inputs, _ in lengths]
    assert found["targets"].tolist() == [targets > 2 for _, targets in lengths]


@pytest.mark.parametrize(
    ("lengths", "message"),
    [
        ({"inputs": 4}, "no feature length for 'targets' of 'sums': set TASK_FEATURE_LENGTHS"),
        ({"inputs": 4, "targets": 0}, "gives 'targets' the length 0; expected at least 1"),
        ({"inputs": 4, "targets": 4, "target": 4}, "'target', .* Did you mean 'targets'"),
    ],
)
def test_wrong_lengths_are_user_errors(lengths, message):
    with pytest.raises(UserError, match=message):
        EncoderDecoderConverter(lengths).check_features(("inputs", "targets"), "sums")


def test_an_encoder_needs_inputs():
    with pytest.raises(UserError, match="'lm' has targets only"):
        EncoderDecoderConverter({"targets": 4}).check_features(("targets",), "lm")


def test_unknown_architecture_names_the_nearest():
    with pytest.raises(UserError, match=r"'encoder-decoder'.*Did you mean 'encoder_decoder'"):
        make_converter("encoder-decoder", feature_lengths={"targets": 4})


def test_tokens_beyond_the_embedding_are_user_errors():
    batch = convert(DecoderOnlyConverter({"inputs": 5, "targets": 3}), EXAMPLES)
    check_token_ids(batch, 10)
    with pytest.raises(UserError, match=r"holds token 9, but .* only 9 rows"):
        check_token_ids(batch, 9)


def test_a_missing_aligned_feature_is_named():
    converter = EncoderDecoderConverter({"inputs": 4, "targets": 2}, aligned={"teacher": 0.0})
    with pytest.raises(UserError, match="carry no feature 'teacher'"):
        converter.prepare(tokenized(EXAMPLES))


@pytest.mark.parametrize("packed", [False, True])
def test_without_bos_the_first_token_is_read_and_not_predicted(packed):
    with_bos, without = (
        DecoderOnlyConverter({"inputs": 5, "targets": 3}, bos_id=bos_id) for bos_id in (0, None)
    )
    rows = [0, 1] if packed else None
    theirs = convert(with_bos, EXAMPLES, rows, num_rows=2)
    ours = convert(without, EXAMPLES, rows, num_rows=2)
    for name in ("decoder_target_tokens", "decoder_loss_weights", "decoder_causal_attention"):
        shifted = np.pad(theirs[name][:, 1:], ((0, 0), (0, 1)))
        np.testing.assert_array_equal(ours[name], shifted, err_msg=name)
    assert ours["decoder_input_tokens"][0, :6].tolist() == [7, 8, 5, 1, 3, 9]
    assert ours["decoder_input_tokens"][1, :6].tolist() == [8, 4, 9, 3, 1, 4]


def test_rows_without_bos_are_packed_more_closely():
    converter = DecoderOnlyConverter({"inputs": 6, "targets": 6}, bos_id=None)
    batch = convert(converter, EXAMPLES, rows=[0, 0])
    assert batch["decoder_input_tokens"].tolist() == [[7, 8, 5, 1, 3, 9, 8, 4, 9, 3, 1, 4]]
    assert batch["decoder_target_tokens"].tolist() == [[8, 5, 1, 3, 9, 1, 4, 9, 3, 1, 4, 1]]
    assert batch["decoder_loss_weights"].tolist() == [[0, 0, 0, 1, 1, 1, 0, 0, 0, 0, 1, 1]]
    assert batch["decoder_segment_ids"].tolist() == [[1] * 6 + [2] * 6]
    assert batch["decoder_causal_attention"].tolist() == [[1, 1, 1, 1, 0, 0, 1, 1, 1, 1, 1, 0]]
    # A single token has nothing before it, so nothing is learned of it.
    alone = convert(converter, [{"inputs": [], "targets": [4]}])
    assert alone["decoder_loss_weights"].sum() == 0
    assert alone["decoder_input_tokens"][0, 0] == 4
