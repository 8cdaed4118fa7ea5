# pyright: reportAttributeAccessIssue=false
"""Vocabularies give SeqIO's ids without SeqIO, and know their special tokens."""

import json
import pickle

import numpy as np
import pytest
import sentencepiece
import seqio
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

from tlm_jax.data.seqio_vocabularies import (
    ForeignVocabulary,
    as_seqio_vocabulary,
    from_seqio_vocabulary,
)
from tlm_jax.errors import UserError
from tlm_jax.vocabularies import (
    ByteVocabulary,
    HuggingFaceVocabulary,
    SentencePieceVocabulary,
    check_vocabulary_fits,
    vocabulary_from_name,
)

SENTENCES = ["Mia has 3 apples and 12 pears.", "She buys 4 more; so 3 + 4 = 7 apples.", "ünïcödé"]


@pytest.fixture(scope="module")
def sentencepiece_file(tmp_path_factory):
    """A tiny model with T5's special ids: 0 padding, 1 EOS, 2 UNK."""
    prefix = tmp_path_factory.mktemp("sentencepiece") / "tiny"
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES * 20),
        model_prefix=str(prefix),
        vocab_size=36,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        minloglevel=2,
    )
    return f"{prefix}.model"


@pytest.fixture
def tokenizer_file(tmp_path):
    """A word-level tokenizer whose id 0 is a word."""
    words = ["apples", "pears", "and", "<s>", "</s>", "<unk>", "3"]
    tokenizer = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="<unk>")
    )
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens(["<s>", "</s>", "<unk>"])
    path = tmp_path / "tokenizer.json"
    tokenizer.save(str(path))
    return path


@settings(max_examples=100, deadline=None)
@given(st.text())
def test_bytes_equal_seqio(text):
    ours, theirs = ByteVocabulary(), seqio.ByteVocabulary()
    assert ours.encode(text).tolist() == list(theirs.encode(text))
    assert ours.decode(ours.encode(text)) == text


def test_bytes_decode_what_a_model_may_write():
    ours, theirs = ByteVocabulary(extra_ids=2), seqio.ByteVocabulary(extra_ids=2)
    ids = [0, 2, 68, 69, 258, 260, 400, 70, 1, 71]
    assert ours.decode(ids) == theirs.decode(ids) == "ABC"
    assert (ours.size, ours.eos_id, ours.bos_id) == (261, 1, 0)
    assert [ours.piece(i) for i in (0, 1, 68, 13, 259, 260)] == [
        "<pad>",
        "</s>",
        "A",
        "<0A>",
        "<extra_id_1>",
        "<extra_id_0>",
    ]


@pytest.mark.parametrize("extra_ids", [0, 5])
def test_sentencepiece_equals_seqio(sentencepiece_file, extra_ids):
    ours = SentencePieceVocabulary(sentencepiece_file, extra_ids)
    theirs = seqio.SentencePieceVocabulary(sentencepiece_file, extra_ids)
    assert ours.size == theirs.vocab_size
    assert (ours.eos_id, ours.unk_id, ours.bos_id) == (theirs.eos_id, theirs.unk_id, 0)
    for text in [*SENTENCES, "", "quite new ☃", "an <extra_id_0> and <extra_id_4>"]:
        ids = ours.encode(text)
        assert ids.dtype == np.int32
        assert ids.tolist() == list(theirs.encode(text))
        assert ours.decode(ids) == theirs.decode(ids.tolist())
    if extra_ids:
        assert ours.encode("<extra_id_0>").tolist() == [ours.size - 1]


def test_t5_model(shared_dir):
    ours = vocabulary_from_name(str(shared_dir / "fixtures/tokenizers/t5/spiece.model") + "+100")
    assert ours.size == 32_100
    assert ours.encode("hello world").tolist() == [21820, 296]
    # T5 has no piece for a line break: it is read as a space.
    assert ours.decode(ours.encode("a\nb")) == "a b"
    assert ours.piece(32_099) == "▁<extra_id_0>"


def test_hugging_face(tokenizer_file):
    vocabulary = HuggingFaceVocabulary(str(tokenizer_file))
    assert vocabulary.encode("3 apples and pears and figs").tolist() == [6, 0, 2, 1, 2, 5]
    assert vocabulary.decode([6, 0, 4, 1]) == "3 apples"
    assert vocabulary.decode([6, 99]) == "3"  # beyond the vocabulary: UNK, which is not text
    assert (vocabulary.size, vocabulary.eos_id) == (7, 4)
    assert (vocabulary.bos_id, vocabulary.unk_id) == (3, 5)
    assert not vocabulary.zero_is_padding
    assert vocabulary.piece(1) == "pears"


def test_hugging_face_special_tokens_come_from_the_configuration(tokenizer_file):
    configuration = {"eos_token": {"content": "and"}, "bos_token": None}
    tokenizer_file.with_name("tokenizer_config.json").write_text(json.dumps(configuration))
    assert HuggingFaceVocabulary(str(tokenizer_file)).eos_id == 2
    assert HuggingFaceVocabulary(str(tokenizer_file), eos_token="</s>").eos_id == 4
    with pytest.raises(UserError, match=r"no token '<s/>' \(given as eos_token\)"):
        HuggingFaceVocabulary(str(tokenizer_file), eos_token="<s/>").eos_id  # noqa: B018


def test_smollm2(shared_dir):
    path = shared_dir / "fixtures/tokenizers/smollm2/tokenizer.json"
    vocabulary = vocabulary_from_name(str(path))
    reference = np.load(path.with_name("reference.npz"), allow_pickle=False)
    assert vocabulary.size == 49_152
    assert (vocabulary.bos_id, vocabulary.eos_id) == (1, 2)
    prompts = [name for name in reference.files if name.endswith("prompt_ids")]
    for name in prompts:
        ids = reference[name].ravel().tolist()
        assert vocabulary.tokenizer.encode(vocabulary.tokenizer.decode(ids)).ids == ids
    assert vocabulary.decode(vocabulary.encode("It costs $1,200.\n")) == "It costs $1,200.\n"


def test_behind_seqio_interface(tokenizer_file, sentencepiece_file):
    import tensorflow as tf

    for vocabulary in (
        ByteVocabulary(),
        SentencePieceVocabulary(sentencepiece_file, 3),
        HuggingFaceVocabulary(str(tokenizer_file)),
    ):
        shown = as_seqio_vocabulary(vocabulary)
        assert isinstance(shown, seqio.Vocabulary)
        ids = vocabulary.encode("3 apples and pears").tolist()
        assert list(shown.encode("3 apples and pears")) == ids
        assert shown.encode_tf(tf.constant("3 apples and pears")).numpy().tolist() == ids
        assert shown.decode(ids) == vocabulary.decode(ids)
        assert shown.decode_tf(tf.constant([ids])).numpy()[0].decode() == vocabulary.decode(ids)
        assert (shown.vocab_size, shown.eos_id) == (vocabulary.size, vocabulary.eos_id)


def test_seqios_vocabularies_become_ours_where_the_ids_agree(sentencepiece_file):
    assert from_seqio_vocabulary(seqio.ByteVocabulary(extra_ids=3)) == ByteVocabulary(extra_ids=3)
    theirs = seqio.SentencePieceVocabulary(sentencepiece_file, extra_ids=4)
    assert from_seqio_vocabulary(theirs) == SentencePieceVocabulary(sentencepiece_file, 4)
    ascending = seqio.SentencePieceVocabulary(
        sentencepiece_file, extra_ids=4, reverse_extra_ids=False
    )
    assert isinstance(from_seqio_vocabulary(ascending), ForeignVocabulary)
    assert from_seqio_vocabulary(as_seqio_vocabulary(ByteVocabulary())) == ByteVocabulary()


def test_a_foreign_vocabulary_is_like_our_own():
    ours, foreign = ByteVocabulary(), ForeignVocabulary(seqio.ByteVocabulary())
    ids = ours.encode("7 = 3 + 4")
    assert foreign.encode("7 = 3 + 4").tolist() == ids.tolist()
    assert foreign.decode(ids) == "7 = 3 + 4"
    assert (foreign.size, foreign.eos_id, foreign.unk_id) == (ours.size, 1, 2)


def test_equal_vocabularies_are_equal_and_fingerprints_tell_others(sentencepiece_file):
    a, b = SentencePieceVocabulary(sentencepiece_file), SentencePieceVocabulary(sentencepiece_file)
    assert a == b
    assert pickle.loads(pickle.dumps(a)) == a
    fingerprints = {
        v.fingerprint
        for v in (a, b, SentencePieceVocabulary(sentencepiece_file, 3), ByteVocabulary())
    }
    assert len(fingerprints) == 3


def test_the_embedded_vocabulary_is_seqios_own_class_too():
    ours = SentencePieceVocabulary("asset:word_problems")
    theirs = as_seqio_vocabulary(ours)
    assert isinstance(theirs, seqio.SentencePieceVocabulary)
    text = "Mia has 12 apples and 3 pears.\nThe answer is 15"
    assert theirs.encode_tf(text).numpy().tolist() == ours.encode(text).tolist()
    assert ours.decode(ours.encode(text)) == text


def test_names():
    assert vocabulary_from_name("byte") == ByteVocabulary()
    assert vocabulary_from_name("byte+7") == ByteVocabulary(extra_ids=7)
    assert vocabulary_from_name("x/y.model+100") == SentencePieceVocabulary("x/y.model", 100)
    assert vocabulary_from_name("x/tokenizer.json") == HuggingFaceVocabulary("x/tokenizer.json")
    with pytest.raises(UserError, match="cannot tell what vocabulary 'gpt2' is"):
        vocabulary_from_name("gpt2")


def test_files_that_cannot_be_used(tmp_path):
    with pytest.raises(UserError, match=r"cannot read the vocabulary file '.*absent\.model'"):
        SentencePieceVocabulary(str(tmp_path / "absent.model")).encode("x")
    with pytest.raises(UserError, match="no vocabulary 'asset:absent' comes with the library"):
        SentencePieceVocabulary("asset:absent").encode("x")
    broken = tmp_path / "tokenizer.json"
    broken.write_text("{")
    with pytest.raises(UserError, match=r"is not a Hugging Face tokenizer\.json"):
        HuggingFaceVocabulary(str(broken)).encode("x")
    broken = tmp_path / "broken.model"
    broken.write_bytes(b"not a model")
    with pytest.raises(UserError, match="is not a SentencePiece model"):
        SentencePieceVocabulary(str(broken)).encode("x")


def test_a_vocabulary_larger_than_the_embedding_names_both_numbers():
    check_vocabulary_fits(ByteVocabulary(), 259)
    message = r"vocabulary has 259 ids but .* only 256 rows; set vocab_size to at least 259 .*384"
    with pytest.raises(UserError, match=message):
        check_vocabulary_fits(ByteVocabulary(), 256)
    # A model that is there already cannot be given rows by a setting.
    message = r"tokenizer is of another model, or has had tokens added since; set VOCABULARY to"
    with pytest.raises(UserError, match=message):
        check_vocabulary_fits(ByteVocabulary(), 256, "VOCABULARY")
