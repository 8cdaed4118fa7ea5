"""A tokenizer_config.json that was edited by hand is named, wherever it is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from tlm_jax.data.chat import read_chat_template
from tlm_jax.errors import UserError
from tlm_jax.vocabularies import vocabulary_from_name


@pytest.fixture
def tokenizer(tmp_path) -> Path:
    from tokenizers import Tokenizer, models

    words = {"<pad>": 0, "</s>": 1, "a": 2}
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
        ('{"eos_token": "<end>"}', r"beside it says '<end>', which it does not have; set eos"),
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
