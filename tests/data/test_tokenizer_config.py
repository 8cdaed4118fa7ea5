"""A tokenizer_config.json that was edited by hand is named, wherever it is read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tlm_jax.data.chat import read_chat_template
from tlm_jax.errors import UserError
from tlm_jax.vocabularies import vocabulary_from_name


@pytest.fixture
def tokenizer(tmp_path) -> Path:
    from tokenizers import Tokenizer, models

    words = {"<pad>": 0, "</s>": 1, "a": 2, "b": 3}
    Tokenizer(models.WordLevel(words, unk_token="<pad>")).save(str(tmp_path / "tokenizer.json"))
    return tmp_path


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (b'{"eos_token": "</s>",}', "is not JSON: "),
        (b"\xef\xbb\xbf{}", "is not JSON: it begins with a byte-order mark"),
        (b'{"eos_token": "\xff"}', "is not UTF-8"),
        (b'[{"eos_token": "</s>"}]', "is not a JSON object but a list"),
    ],
)
def test_a_damaged_file_is_named_by_all_who_read_it(tokenizer, config, message):
    (tokenizer / "tokenizer_config.json").write_bytes(config)
    for read in (lambda: vocabulary_from_name(str(tokenizer)).eos_id,
                 lambda: read_chat_template(tokenizer)):  # fmt: skip
        with pytest.raises(UserError, match=rf"tokenizer_config\.json {message}"):
            read()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ('{"eos_token": 7}', r"tokenizer_config\.json: eos_token is 7, expected text$"),
        (
            '{"eos_token": "<end>"}',
            r"has no token '<end>', which ends a sequence by the tokenizer_config\.json or special_"
            r"tokens_map\.json beside it; set eos_token to one of its tokens(\. Did you mean '"
            r"[^']+'\?|, or copy the files anew\.)$",
        ),
    ],
)
def test_an_end_token_that_is_none_is_named(tokenizer, config, message):
    (tokenizer / "tokenizer_config.json").write_text(config)
    with pytest.raises(UserError, match=message):
        _ = vocabulary_from_name(str(tokenizer)).eos_id


@pytest.mark.parametrize("template", ["7", "{}", "true"])
def test_a_template_that_is_no_text_is_named(tokenizer, template):
    (tokenizer / "tokenizer_config.json").write_text(f'{{"chat_template": {template}}}')
    with pytest.raises(UserError, match=r"tokenizer_config\.json: chat_template is a "):
        read_chat_template(tokenizer)


def tokens(directory, **files):
    for name, content in files.items():
        (directory / f"{name}.json").write_text(json.dumps(content))
    return vocabulary_from_name(str(directory))


@pytest.mark.parametrize(
    ("config", "mapped"),
    [
        ({}, True),
        ({"eos_token": "a"}, True),
        ({"eos_token": None}, True),
        ({"eos_token": "a", "added_tokens_decoder": {}}, False),
    ],
)
@pytest.mark.parametrize("value", ["b", {"content": "b", "lstrip": False}])
def test_special_tokens_in_a_file_of_their_own(tokenizer, config, mapped, value):
    """As transformers 5.24 reads the same folders: the newer form leaves the other file out."""
    found = tokens(tokenizer, tokenizer_config=config, special_tokens_map={"eos_token": value})
    assert found.eos_id == found.tokenizer.token_to_id("b" if mapped else "a")
    (tokenizer / "chat_template.jinja").write_text("{{ eos_token }}")
    written = read_chat_template(tokenizer).special_tokens["eos_token"]
    assert written == ("b" if mapped else "a")


def test_special_tokens_in_a_file_of_their_own_that_are_none(tokenizer):
    found = tokens(tokenizer, special_tokens_map={"eos_token": 7})
    with pytest.raises(UserError, match=r"special_tokens_map\.json: eos_token is 7, expected text"):
        _ = found.eos_id


@pytest.mark.parametrize("special", [True, False, None])
def test_tokens_that_stand_beside_the_tokenizer_are_added(tokenizer, special):
    """As transformers does; those of added_tokens.json (None) are not special."""
    before = vocabulary_from_name(str(tokenizer))
    size, fingerprint = before.size, before.fingerprint
    token = {"content": "<new>", "special": special}
    files = (
        {"added_tokens": {"<new>": size}}
        if special is None
        else {"tokenizer_config": {"added_tokens_decoder": {str(size): token}}}
    )
    found = tokens(tokenizer, **files)
    assert (found.size, found.encode("<new>").tolist()) == (size + 1, [size])
    assert found.decode_text([size]) == ("" if special else "<new>")
    assert found.fingerprint != fingerprint


def write_words(directory, *, in_vocabulary=False, held=None, said=None):
    """A tokenizer that keeps spaces and lowers what it reads, and <New> in it or beside it."""
    from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers

    words = ["<pad>", "</s>", "a", "b", "<", ">", "new", "x", "New", " "]
    words += ["<New>"] if in_vocabulary else []
    tokenizer = Tokenizer(
        models.WordLevel({word: n for n, word in enumerate(words)}, unk_token="<pad>")
    )
    tokenizer.normalizer = normalizers.Lowercase()
    split = [pre_tokenizers.Split(" ", "isolated"), pre_tokenizers.Punctuation()]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(split)
    if held is not None:
        tokenizer.add_tokens([AddedToken("<New>", **{**PLAIN, **held})])
    tokenizer.save(str(directory / "tokenizer.json"))
    token = {"content": "<New>", **PLAIN, **(said or {})}
    return tokens(directory, tokenizer_config={"added_tokens_decoder": {"10": token}})


PLAIN = dict.fromkeys(("lstrip", "rstrip", "single_word", "normalized", "special"), False)


@pytest.mark.parametrize(
    ("said", "ids", "text"),
    [
        ({}, [[2, 9, 10, 9, 3], [2, 10, 3], [4, 6, 5, 9, 2, 9, 4, 6, 5]], "a   <New>   b"),
        ({"lstrip": True}, [[2, 10, 9, 3], [2, 10, 3], [4, 6, 5, 9, 2, 9, 4, 6, 5]], "a <New>   b"),
        ({"rstrip": True}, [[2, 9, 10, 3], [2, 10, 3], [4, 6, 5, 9, 2, 9, 4, 6, 5]], "a   <New> b"),
        (
            {"single_word": True},
            [[2, 9, 10, 9, 3], [2, 4, 6, 5, 3], [4, 6, 5, 9, 2, 9, 4, 6, 5]],
            "a   <New>   b",
        ),
        ({"normalized": True}, [[2, 9, 10, 9, 3], [2, 10, 3], [10, 9, 2, 9, 10]], "a   <new>   b"),
        ({"special": True}, [[2, 9, 10, 9, 3], [2, 10, 3], [4, 6, 5, 9, 2, 9, 4, 6, 5]], "a     b"),
        (
            {"special": True, "normalized": True},
            [[2, 9, 10, 9, 3], [2, 10, 3], [10, 9, 2, 9, 10]],
            "a   <new>   b",
        ),
        (
            {"special": True, "lstrip": True, "rstrip": True},
            [[2, 10, 3], [2, 10, 3], [4, 6, 5, 9, 2, 9, 4, 6, 5]],
            "a b",
        ),
    ],
)
@pytest.mark.parametrize("where", ["beside", "in the vocabulary", "held otherwise"])
def test_what_is_said_of_an_added_token_holds(tmp_path, said, ids, text, where):
    """As transformers 5.24 reads the same folders, wherever else the token stands."""
    held = {"beside": None, "in the vocabulary": None, "held otherwise": {"normalized": True}}
    found = write_words(
        tmp_path, in_vocabulary=where == "in the vocabulary", held=held[where], said=said
    )
    texts = ["a <New> b", "a<New>b", "<new> a <NEW>"]
    assert [found.encode(one).tolist() for one in texts] == ids
    if where != "held otherwise":  # such text is written as the one that it was held as
        assert found.decode_text(ids[0]) == text


def test_what_is_said_of_an_added_token_is_in_the_fingerprint(tmp_path):
    found = []
    for n, (held, said) in enumerate(
        [({}, {}), (None, {"normalized": True}), (None, {"lstrip": True}), ({}, {"lstrip": True})]
    ):
        (tmp_path / str(n)).mkdir()
        found.append(write_words(tmp_path / str(n), held=held, said=said).fingerprint)
    assert len(set(found)) == 4
    only = vocabulary_from_name(str(tmp_path / "0" / "tokenizer.json"))
    (tmp_path / "0" / "tokenizer_config.json").unlink()
    assert found[0] == only.fingerprint


def test_added_tokens_of_another_model_are_refused(tokenizer):
    found = tokens(tokenizer, added_tokens={"<new>": 999_999})
    with pytest.raises(
        UserError, match=r"has '<new>' as token \d+, but the added tokens .* 999999"
    ):
        _ = found.size


def test_templates_in_other_places(tokenizer):
    old = tokenizer / "chat_template.json"
    old.write_text(json.dumps({"chat_template": "old"}))
    assert read_chat_template(tokenizer).source == "old"
    named = [{"name": "tools", "template": "x"}]
    (tokenizer / "tokenizer_config.json").write_text(json.dumps({"chat_template": named}))
    with pytest.raises(
        UserError, match=r"several chat templates \(tools\) and none named 'default'"
    ):
        read_chat_template(tokenizer)
    (tokenizer / "tokenizer_config.json").write_text("{}")
    old.unlink()
    more = tokenizer / "additional_chat_templates"
    more.mkdir()
    (more / "rag.jinja").write_text("x")
    with pytest.raises(
        UserError, match=r"templates \(rag\) .*, or save the one to use as chat_temp"
    ):
        read_chat_template(tokenizer)
    (tokenizer / "chat_template.jinja").write_bytes(b"\xef\xbb\xbfnew")
    assert read_chat_template(tokenizer).source == "new"


def test_templates_have_names(tokenizer):
    """Those of a list and those of files; as in transformers the files go before the list."""
    listed = [{"name": "default", "template": "d"}, {"name": "rag", "template": "listed"}]
    (tokenizer / "tokenizer_config.json").write_text(json.dumps({"chat_template": listed}))
    assert read_chat_template(tokenizer).source == "d"
    assert read_chat_template(tokenizer, "rag").source == "listed"
    more = tokenizer / "additional_chat_templates"
    more.mkdir()
    (more / "rag.jinja").write_text("of a file")
    (more / "tool_use.jinja").write_text("tools")
    assert read_chat_template(tokenizer, "rag").source == "of a file"
    assert read_chat_template(tokenizer, "tool_use").source == "tools"
    assert read_chat_template(tokenizer).source == "d"
    with pytest.raises(
        UserError, match=r"CHAT_TEMPLATE is 'rags', but .* has default, rag, tool_use.*mean 'rag'"
    ):
        read_chat_template(tokenizer, "rags")
    (tokenizer / "tokenizer_config.json").write_text("{}")
    with pytest.raises(UserError, match=r"\(rag, tool_use\) .*: set CHAT_TEMPLATE to one of them"):
        read_chat_template(tokenizer)
