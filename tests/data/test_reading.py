"""Prompts and answers as tokens: divided by EOS, or as one text."""

from __future__ import annotations

import dataclasses

import pytest
import tokenizers

from tlm_jax.data import tasks
from tlm_jax.data.pipeline.store import tokenize
from tlm_jax.data.reading import Reading, divider_ids, encode_continuations, start_id
from tlm_jax.vocabularies import ByteVocabulary, HuggingFaceVocabulary, SentencePieceVocabulary

BYTES = ByteVocabulary()
PLAIN = Reading(None, prompt_eos=False)
DIVIDED = Reading(None, prompt_eos=True)
PAIR = Reading(0, prompt_eos=False, one_sequence=False)
RECORDS = [
    {"id": "1", "inputs": "2+2?", "targets": "4"},
    {"id": "2", "inputs": "A:\n", "targets": "b"},
]


def texts(reading, **fields):
    """Returns inputs and targets, EOS shown as #."""
    task = dataclasses.replace(tasks.get_task("addition_direct"), vocabulary=BYTES, **fields)
    found = tokenize(RECORDS, task, BYTES, reading)
    return [
        tuple(
            BYTES.decode_text([b"#"[0] + 3 if i == BYTES.eos_id else int(i) for i in ids])
            for ids in (found.features["inputs"][n], found.features["targets"][n])
        )
        for n in range(2)
    ]


def test_a_line_break_or_eos_stands_between_inputs_and_targets():
    assert texts(DIVIDED) == [("2+2?#", "4#"), ("A:\n#", "b#")]
    assert texts(None) == texts(DIVIDED)
    assert texts(PLAIN) == [("2+2?\n", "4#"), ("A:\n", "b#")]
    # An encoder's input stands alone.
    assert texts(PAIR) == [("2+2?", "4#"), ("A:\n", "b#")]
    # A task that divides the two by nothing has them so.
    assert texts(PLAIN, eos_features=("targets",)) == [("2+2?", "4#"), ("A:\n", "b#")]
    assert texts(DIVIDED, eos_features=("targets",)) == [("2+2?", "4#"), ("A:\n", "b#")]


def test_plain_text_is_encoded_together_and_parted_where_a_token_ends():
    pieces = SentencePieceVocabulary("asset:word_problems")
    contexts = ["Q: How many apples? A:", "two ap"]
    parts = [" 7 apples", "ples"]
    before, after, apart = encode_continuations(pieces, contexts, parts)
    for context, text, first, second in zip(contexts, parts, before, after):
        assert first.tolist() == pieces.encode(context).tolist()
        assert pieces.decode(second) == text.strip()
    whole = pieces.encode(contexts[0] + parts[0]).tolist()
    assert [*before[0], *after[0]] == whole
    assert apart == 1  # no token ends within "apples"
    assert PLAIN.encode(pieces, contexts, parts)[1][0].tolist() == after[0].tolist()
    assert (
        DIVIDED.encode(pieces, contexts, parts)[1][0].tolist() == pieces.encode(parts[0]).tolist()
    )


def test_what_stands_in_for_bos_is_never_text(tmp_path):
    words = {"!": 0, "</s>": 1, "a": 2}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="!"))
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_text('{"bos_token": null, "eos_token": "</s>"}')
    vocabulary = HuggingFaceVocabulary(str(tmp_path / "tokenizer.json"))
    assert not vocabulary.has_bos
    assert not vocabulary.adds_bos
    assert vocabulary.bos_id == vocabulary.eos_id == 1
    assert BYTES.bos_id == 0  # which is padding
    assert start_id(PLAIN, vocabulary, ("inputs", "targets")) is None
    assert start_id(PLAIN, vocabulary, ("targets",)) == 1


@pytest.mark.parametrize("text", ["a", "Q: b?"])
def test_the_tokens_of_the_line_break(text):
    assert BYTES.decode([*BYTES.encode(text).tolist(), *divider_ids(BYTES).tolist()]) == text + "\n"
