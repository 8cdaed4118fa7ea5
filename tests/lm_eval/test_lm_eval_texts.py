"""Tokens of contexts and continuations, worked by hand with a tokenizer of bytes."""

from __future__ import annotations

import types
from pathlib import Path
from typing import cast

import pytest
import tokenizers
from tiny_models import decoder_only  # pyright: ignore[reportMissingImports]

from tlm_jax.checkpoints.pretrained import Pretrained
from tlm_jax.data.reading import Reading
from tlm_jax.lm_eval.texts import Pair, TextEncoder
from tlm_jax.runs.opened.reading import reading_of
from tlm_jax.vocabularies import ByteVocabulary, HuggingFaceVocabulary

BYTES = ByteVocabulary()
EOS = BYTES.eos_id


def ids(text: str) -> list[int]:
    return BYTES.encode(text).tolist()


PLAIN = Reading(None, prompt_eos=False)
WITH_BOS = Reading(BYTES.bos_id, prompt_eos=False)


def decoder(reading: Reading = PLAIN, prefix_id: int | None = None) -> TextEncoder:
    return TextEncoder(BYTES, reading, prefix_id=prefix_id)


def test_spaces_before_a_continuation_belong_to_it():
    assert decoder().pairs([("ab ", "c"), ("ab", " c")]) == [Pair(ids("ab"), ids(" c"))] * 2


def test_options_of_one_question_have_the_same_context():
    pairs = decoder().pairs([("q", " a"), ("q", " bc"), ("r", " a")])
    assert [pair.context for pair in pairs] == [ids("q"), ids("q"), ids("r")]
    assert [pair.continuation for pair in pairs] == [ids(" a"), ids(" bc"), ids(" a")]


def test_bos_stands_before_a_context_once():
    bos = BYTES.bos_id
    (pair,) = decoder(WITH_BOS).pairs([("ab", "c")])
    assert pair == Pair([bos, *ids("ab")], ids("c"))
    assert decoder(WITH_BOS).encode([""]) == [[bos]]


def test_eos_divides_where_training_had_it_there():
    trained = decoder(Reading(BYTES.bos_id, prompt_eos=True))
    context = [BYTES.bos_id, *ids("ab"), EOS]
    assert trained.pairs([("ab", " c")]) == [Pair(context, ids(" c"))]
    assert trained.contexts(["ab"]) == [context]
    assert trained.encode(["ab"]) == [context[:-1]]  # a whole text has no prompt
    trained.conversations = True  # the template says where turns end
    assert trained.contexts(["ab"]) == [context[:-1]]


def test_the_prefix_stands_in_for_an_empty_context():
    assert decoder().prefix_id == EOS
    assert decoder().pairs([("", "ab"), (" ", "a")]) == [
        Pair([EOS], ids("ab")),
        Pair([EOS], ids(" a")),
    ]
    assert decoder(prefix_id=7).contexts(["", "a"]) == [[7], ids("a")]
    # A text that begins with the prefix is its own context.
    first = ids("a")[0]
    assert decoder(prefix_id=first).pairs([("", "ab")]) == [Pair(ids("a"), ids("b"))]
    assert decoder(prefix_id=first).pairs([("", "a")]) == [Pair(ids("a"), ids("a"))]


def test_an_encoder_reads_eos_and_a_decoder_the_continuation():
    encoder = TextEncoder(BYTES, Reading(0, prompt_eos=True, one_sequence=False))
    assert encoder.pairs([("ab ", "c")]) == [Pair([*ids("ab"), EOS], ids(" c"))]
    assert encoder.pairs([("", "c")]) == [Pair([EOS], ids("c"))]
    assert encoder.contexts([""]) == [[EOS]]


@pytest.mark.parametrize(
    ("length", "windows"),
    [
        (3, [("^", "abc"), ("c", "def"), ("def", "g")]),
        (4, [("^", "abcd"), ("cd", "efg")]),
        (7, [("^", "abcdefg")]),
        (100, [("^", "abcdefg")]),
        (1, [("^", "a"), *zip("abcdef", "bcdefg")]),
    ],
)
def test_windows_score_each_token_once_with_as_much_context_as_fits(length, windows):
    prefix = ids("^")[0]
    found = list(decoder(prefix_id=prefix).windows("abcdefg", length))
    assert found == [Pair(ids(context), ids(text)) for context, text in windows]
    assert [t for pair in found for t in pair.continuation] == ids("abcdefg")
    assert all(len(pair.context) + len(pair.continuation) <= length + 1 for pair in found)


def test_an_empty_text_has_no_windows():
    assert list(decoder().windows("", 5)) == []
    assert decoder().pairs([]) == []


def _merging(directory: Path, *, bos: bool) -> HuggingFaceVocabulary:
    """A tokenizer that knows a, b and ab, and may put BOS, id 0, before a text."""
    words = {"<s>": 0, "</s>": 1, "a": 2, "b": 3, "ab": 4}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE(words, [("a", "b")]))
    tokenizer.add_special_tokens(["<s>", "</s>"])
    if bos:
        tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
            single="<s> $A", special_tokens=[("<s>", 0)]
        )
    tokenizer.save(str(directory / "tokenizer.json"))
    return HuggingFaceVocabulary(str(directory / "tokenizer.json"))


def test_a_continuation_that_the_borders_token_swallows_is_scored_by_itself(tmp_path):
    encoder = TextEncoder(_merging(tmp_path, bos=False), PLAIN)
    assert encoder.pairs([("a", "b"), ("a", "ba")]) == [Pair([2], [3]), Pair([2], [2])]


def test_bos_follows_the_habit_of_the_tokenizer(tmp_path):
    (tmp_path / "with").mkdir()
    (tmp_path / "without").mkdir()
    elsewhere = cast(Pretrained, types.SimpleNamespace(companions={}, source_format="hf"))
    habit, none = (
        TextEncoder(vocabulary, reading_of(decoder_only(8), vocabulary, elsewhere))
        for vocabulary in (
            _merging(tmp_path / "with", bos=True),
            _merging(tmp_path / "without", bos=False),
        )
    )
    assert habit.encode(["a", "<s>a"]) == [[0, 2], [0, 2]]
    assert none.encode(["a"]) == [[2]]
    # Id 0 is this tokenizer's BOS, not padding.
    assert habit.prefix_id == none.prefix_id == 0
