"""Tokenizers rebuilt from GGUF give the ids of the tokenizers that they were written from."""

import io
import json

import numpy as np
import pytest
import sentencepiece
import tokenizers

from tlm_jax.checkpoints.formats.gguf_tokenizer import tokenizer_files
from tlm_jax.data.chat import read_chat_template
from tlm_jax.errors import UserError
from tlm_jax.vocabularies import vocabulary_from_name

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, BYTE = 1, 2, 3, 4, 6
TEXTS = [
    "Hello  world! Don't you KNOW?  I'LL",
    "It costs $1,234.56 in 2024.\n\n\tx = 12345*(y+1)   \n  return  ",
    "Grüße, naïve café 你好 🙂 ½ e\u0301",
    " leading" + " " * 19 + "far",
    "",
]


def _fields(tokens, **more):
    types = more.pop("types", [NORMAL] * len(tokens))
    found = {"tokens": tokens, "token_type": types, **more}
    return {f"tokenizer.ggml.{name}": value for name, value in found.items()}


def _rebuilt(metadata, path):
    return tokenizers.Tokenizer.from_str(tokenizer_files(metadata, path)["tokenizer.json"].decode())


def _pieces(content):
    return [piece for piece, _ in sorted(content["model"]["vocab"].items(), key=lambda i: i[1])]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.gguf"


@pytest.fixture
def smollm2(shared_dir):
    folder = shared_dir / "fixtures" / "tokenizers" / "smollm2"
    content = json.loads((folder / "tokenizer.json").read_text())
    special = {entry["id"] for entry in content["added_tokens"]}
    tokens = _pieces(content)
    metadata = _fields(
        tokens,
        model="gpt2",
        pre="smollm",
        merges=[" ".join(pair) for pair in content["model"]["merges"]],
        types=[CONTROL if number in special else NORMAL for number in range(len(tokens))],
        bos_token_id=1,
        eos_token_id=2,
        unknown_token_id=0,
        padding_token_id=2,
        add_bos_token=False,
    )
    template = (folder / "chat_template.jinja").read_text()
    return metadata | {"tokenizer.chat_template": template}, folder


def test_smollm2_gives_the_ids_of_its_own_tokenizer(smollm2, path):
    metadata, folder = smollm2
    ours = _rebuilt(metadata, path)
    theirs = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    chat = "<|im_start|>user\nWhat is 12 + 7?<|im_end|>\n"
    for text in [*(text.replace("½", "") for text in TEXTS), chat]:
        assert ours.encode(text).ids == theirs.encode(text).ids
        assert ours.decode(ours.encode(text).ids) == theirs.decode(theirs.encode(text).ids)
    assert ours.encode("<|im_end|>").ids == [2]
    # Digits are parted first, as in the model's training and in llama.cpp. The reference file comes
    # from transformers' reader of GGUF, which ignores the name "smollm": it differs here only.
    assert ours.encode("a   5").tokens == ["a", "ĠĠĠ", "5"]
    assert theirs.encode("a   5").tokens == ["a", "ĠĠ", "Ġ", "5"]


def test_smollm2_gives_the_ids_of_the_reference_texts(smollm2, path):
    metadata, folder = smollm2
    tokenizer = _rebuilt(metadata, path)
    with np.load(folder / "reference.npz") as reference:
        checked = [name for name in reference if name.endswith("_ids")]
        for name in checked:
            ids = reference[name].tolist()
            text = tokenizer.decode(ids, skip_special_tokens=False)
            assert tokenizer.encode(text).ids == ids
    assert len(checked) == 8


def test_special_tokens_and_chat_template_are_read_where_they_are_written(smollm2, path):
    metadata, folder = smollm2
    for name, content in tokenizer_files(metadata, path).items():
        path.with_name(name).write_bytes(content)
    vocabulary = vocabulary_from_name(str(path.parent))
    assert (vocabulary.bos_id, vocabulary.eos_id, vocabulary.unk_id) == (1, 2, 0)
    assert vocabulary.size == 49152
    assert read_chat_template(path.parent).source == read_chat_template(folder).source


def _byte_level(pre, merges=()):
    """A byte-level BPE without merges: what is left is how text is divided."""
    letters = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    tokens = ["<|begin|>", *sorted(letters), *(merge.replace(" ", "") for merge in merges)]
    return _fields(
        tokens,
        model="gpt2",
        pre=pre,
        merges=list(merges),
        types=[CONTROL, *[NORMAL] * (len(tokens) - 1)],
        bos_token_id=0,
    )


def _divided(metadata, path, text):
    content = json.loads(tokenizer_files(metadata, path)["tokenizer.json"])
    divider = tokenizers.Tokenizer.from_str(json.dumps(content)).pre_tokenizer
    return [
        piece.replace("Ġ", " ").replace("Ċ", "\n") for piece, _ in divider.pre_tokenize_str(text)
    ]


@pytest.mark.parametrize(
    ("pre", "expected"),
    [
        ("gpt-2", ["I", "'ll", " pay", " 12345", "$!", " DON", "'", "T", "\n\n", " x"]),
        ("smollm", ["I", "'ll", " pay", " ", *"12345", "$!", " DON", "'", "T", "\n\n", " x"]),
        ("llama-bpe", ["I", "'ll", " pay", " ", "123", "45", "$!", " DON", "'T", "\n\n", " x"]),
        ("qwen2", ["I", "'ll", " pay", " ", *"12345", "$!", " DON", "'T", "\n\n", " x"]),
    ],
)
def test_each_name_divides_text_in_its_own_way(path, pre, expected):
    assert _divided(_byte_level(pre), path, "I'll pay 12345$! DON'T\n\n x") == expected


def test_qwen2_composes_characters_first(path):
    composed = _rebuilt(_byte_level("qwen2"), path)
    assert composed.encode("e\u0301").ids == composed.encode("é").ids
    as_it_is = _rebuilt(_byte_level("gpt-2"), path)
    assert as_it_is.encode("e\u0301").ids != as_it_is.encode("é").ids


def test_llama3_begins_texts_and_takes_whole_words_without_merges(path):
    metadata = _byte_level("llama-bpe")
    metadata["tokenizer.ggml.tokens"].append("word")
    metadata["tokenizer.ggml.token_type"].append(NORMAL)
    found = _rebuilt(metadata, path).encode("word")
    assert found.tokens == ["<|begin|>", "word"]
    assert _rebuilt(metadata | {"tokenizer.ggml.add_bos_token": False}, path).encode(
        "word"
    ).tokens == ["word"]
    pair = _rebuilt(metadata, path).encode("word", "word")
    assert pair.tokens == ["<|begin|>", "word", "<|begin|>", "word"]


def test_an_end_is_added_where_the_file_says_so(path):
    metadata = _byte_level("gpt-2") | {
        "tokenizer.ggml.add_eos_token": True,
        "tokenizer.ggml.eos_token_id": 0,
    }
    assert _rebuilt(metadata, path).encode("a").tokens == ["a", "<|begin|>"]


def test_tokens_defined_by_users_are_kept_in_text_but_not_special(path):
    metadata = _byte_level("gpt-2")
    metadata["tokenizer.ggml.tokens"].append("<think>")
    metadata["tokenizer.ggml.token_type"].append(USER_DEFINED)
    tokenizer = _rebuilt(metadata, path)
    ids = tokenizer.encode("<think>a").ids
    assert tokenizer.decode(ids, skip_special_tokens=True) == "<think>a"
    assert tokenizer.decode([0, *ids], skip_special_tokens=True) == "<think>a"


def _llama2_like(shared_dir):
    """LLaMA 2's pieces with scores that order them as its merges do; runs of blanks come last."""
    file = shared_dir / "fixtures" / "tokenizers" / "llama2" / "tokenizer.json"
    content = json.loads(file.read_text())
    tokens, rank = _pieces(content), {}
    for number, (left, right) in enumerate(content["model"]["merges"]):
        rank.setdefault(left + right, number)
    scores = [
        -1e9 if len(token) > 1 and not token.strip("\u2581") else -float(rank.get(token, 1e6))
        for token in tokens
    ]
    types = [UNKNOWN, CONTROL, CONTROL, *[BYTE] * 256, *[NORMAL] * (len(tokens) - 259)]
    metadata = _fields(
        tokens, model="llama", scores=scores, types=types, bos_token_id=1, eos_token_id=2
    )
    return metadata, tokenizers.Tokenizer.from_file(str(file))


def test_llama2_gives_the_ids_of_its_own_tokenizer(shared_dir, path):
    metadata, theirs = _llama2_like(shared_dir)
    ours = _rebuilt(metadata, path)
    for text in TEXTS:
        found = ours.encode(text).ids
        assert found == [1, *theirs.encode(text).ids]
        assert ours.decode(found) == text
    assert ours.encode("a</s>").ids[-1] == 2


@pytest.mark.parametrize("prefix", [True, False])
def test_a_trained_sentencepiece_model_gives_the_same_ids(path, prefix):
    written = io.BytesIO()
    lines = [text for text in TEXTS[:2] if text] * 20 + ["a world of words that we know"] * 20
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines),
        model_writer=written,
        model_type="bpe",
        vocab_size=330,
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        add_dummy_prefix=prefix,
        minloglevel=2,
    )
    theirs = sentencepiece.SentencePieceProcessor(model_proto=written.getvalue())
    numbers = range(theirs.get_piece_size())

    def kind(number):
        if theirs.is_byte(number):
            return BYTE
        if theirs.is_unknown(number):
            return UNKNOWN
        return CONTROL if theirs.is_control(number) else NORMAL

    metadata = _fields(
        [theirs.id_to_piece(number) for number in numbers],
        model="llama",
        scores=[theirs.get_score(number) for number in numbers],
        types=[kind(number) for number in numbers],
        add_bos_token=False,
        add_space_prefix=prefix,
    )
    ours = _rebuilt(metadata, path)
    for text in [*TEXTS, "we know a word"]:
        assert ours.encode(text).ids == theirs.encode(text), text
        assert ours.decode(ours.encode(text).ids) == theirs.decode(theirs.encode(text))


def test_a_tokenizer_beside_the_file_is_preferred(path):
    metadata = _byte_level("of another program")
    beside = path.with_name("tokenizer.json")
    beside.write_text("{}")
    assert tokenizer_files(metadata, path) == {"tokenizer.json": beside}
    config = path.with_name("tokenizer_config.json")
    config.write_text("{}")
    assert tokenizer_files(metadata, path) == {
        "tokenizer.json": beside,
        "tokenizer_config.json": config,
    }


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        (_byte_level("qwen3"), r"divides text as 'qwen3'; known: gpt-2, .*Did you mean 'qwen2'"),
        (
            _byte_level(None),
            r"divides text as None; known: .*Put tokenizer\.json of the model besi",
        ),
        (_fields(["a"], model="bert"), r"of the kind 'bert'; known: 'gpt2', 'llama'\. Put tokeni"),
    ],
)
def test_unknown_kinds_name_the_remedy(path, metadata, message):
    with pytest.raises(UserError, match=message) as raised:
        tokenizer_files(metadata, path)
    assert str(raised.value).startswith(f"{path}: the tokenizer in it is ")


def test_a_file_without_a_tokenizer_has_none(path):
    assert tokenizer_files({"llama.block_count": 3}, path) == {}


def test_a_padding_token_beyond_the_others_is_left_out(path):
    metadata = _fields(["a", "b"], model="llama", scores=[0.0, -1.0], padding_token_id=2)
    config = json.loads(tokenizer_files(metadata, path)["tokenizer_config.json"])
    assert "pad_token" not in config
