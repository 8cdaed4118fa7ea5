"""The bytes of tokens, put together, are the text that was tokenized."""

import pytest
import tokenizers

from tlm_jax.errors import UserError
from tlm_jax.vocabularies import ByteVocabulary, HuggingFaceVocabulary, vocabulary_from_name
from tlm_jax.vocabularies.base import Vocabulary
from tlm_jax.vocabularies.token_bytes import TokenTable, token_table

TEXT = "Tom's  été: ½ of 8 figs is\t4…\n\n日本語 🙂 costs $1,234.50."


def joined(vocabulary, text):
    table = token_table(vocabulary)
    return b"".join(table.pieces[i] for i in vocabulary.encode(text))


@pytest.fixture
def tokenizer_json(tmp_path):
    """Returns a function that saves a tokenizer.json of words with a decoder."""

    def save(words, decoder, special=()):
        model = tokenizers.models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="<unk>")
        tokenizer = tokenizers.Tokenizer(model)
        if decoder is not None:
            tokenizer.decoder = decoder
        tokenizer.add_special_tokens(list(special))
        path = tmp_path / "tokenizer.json"
        tokenizer.save(str(path))
        return HuggingFaceVocabulary(str(path))

    return save


def test_bytes():
    vocabulary = ByteVocabulary(extra_ids=2)
    table = token_table(vocabulary)
    assert joined(vocabulary, TEXT) == TEXT.encode()
    assert table.special == {0, 1, 2, 259, 260}
    assert (table.size, table.eos_id, table.fingerprint) == (261, 1, vocabulary.fingerprint)


def test_sentencepiece_of_the_library():
    vocabulary = vocabulary_from_name("asset:word_problems")
    assert joined(vocabulary, "Mia has 3 apples.") == b" Mia has 3 apples."
    table = token_table(vocabulary)
    assert all((piece == b"") == (i in table.special) for i, piece in enumerate(table.pieces))
    assert {vocabulary.eos_id, vocabulary.unk_id, 0} <= table.special


def test_the_tokenizers_of_published_models(shared_dir):
    files = shared_dir / "fixtures" / "tokenizers"
    llama = vocabulary_from_name(str(files / "llama2"))
    smollm = vocabulary_from_name(str(files / "smollm2"))
    assert joined(llama, TEXT) == b" " + TEXT.encode()
    assert joined(smollm, TEXT) == TEXT.encode()
    assert token_table(llama).special == {0, 1, 2}  # though the file marks none as special
    assert token_table(smollm).special == set(range(17))
    assert token_table(llama).pieces[13] == b"\n"  # <0x0A>
    t5 = vocabulary_from_name(str(files / "t5"))
    assert token_table(t5).special == {0, 1, 2, *range(32000, 32100)}
    assert joined(t5, "é ½\nx") == " é 12 x".encode()  # the fraction stroke is unknown to it


def test_byte_level(tokenizer_json):
    words = ["<unk>", "Ġa", "Ċ", "ł", "</s>", "日"]
    table = token_table(tokenizer_json(words, tokenizers.decoders.ByteLevel(), ["</s>", "<unk>"]))
    assert table.pieces == (b"", b" a", b"\n", b"\xa0", b"", "日".encode())
    assert table.texts == ("", " a", "\n", "\\xa0", "", "日")
    assert table.special == {0, 4}


def test_gaps_and_added_words(tokenizer_json, tmp_path):
    decoders = tokenizers.decoders
    decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback()])
    tokenizer_json(["<unk>", "▁a", "<0x0A>", "<0x0a>b", "</s>"], decoder)
    path = tmp_path / "tokenizer.json"
    tokenizer = tokenizers.Tokenizer.from_file(str(path))
    tokenizer.add_tokens(["▁▁"])
    tokenizer.save(str(path))
    path.write_text(path.read_text().replace('"▁a": 1', '"▁a": 9'))
    table = token_table(HuggingFaceVocabulary(str(path)))
    assert table.pieces[9] == b" a"
    assert table.pieces[2:6] == (b"\n", b"<0x0a>b", b"", b"  ")
    assert table.special == {0, 1, 4, 6, 7, 8}


@pytest.mark.parametrize("decoder", [None, tokenizers.decoders.WordPiece()])
def test_pieces_that_do_not_tell_their_text(tokenizer_json, decoder):
    vocabulary = tokenizer_json(["<unk>", "a", "</s>"], decoder)
    with pytest.raises(UserError, match="cannot tell which bytes its tokens stand for"):
        token_table(vocabulary)


def test_a_vocabulary_of_another_kind():
    members = dict.fromkeys(Vocabulary.__abstractmethods__)
    other = type("Other", (Vocabulary,), members)()
    with pytest.raises(UserError, match="expected a byte, SentencePiece or Hugging Face"):
        token_table(other)


def test_ids_without_a_piece():
    with pytest.raises(UserError, match="token table of 2 pieces names the special id 5"):
        TokenTable((b"a", b"b"), frozenset({5}), None, "x")
