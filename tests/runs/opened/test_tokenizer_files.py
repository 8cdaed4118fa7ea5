"""A model's tokenizer and template: read where they lie, and errors name what people know."""

from __future__ import annotations

import types
from pathlib import Path
from typing import cast

import pytest

from tlm_jax.checkpoints.pretrained import Pretrained
from tlm_jax.errors import UserError
from tlm_jax.runs.opened.tokenizer_files import TokenizerFiles


def _source(companions: dict[str, Path | bytes], path: Path) -> Pretrained:
    return cast(Pretrained, types.SimpleNamespace(companions=companions, path=path))


def test_a_tokenizer_beside_a_model_is_read_where_it_lies(tmp_path):
    """Copies would stay behind after a kill, and messages would name them."""
    (tmp_path / "tokenizer.json").write_text("{}")
    files = TokenizerFiles(_source({"tokenizer.json": tmp_path / "tokenizer.json"}, tmp_path))
    assert files.directory == tmp_path
    with pytest.raises(UserError, match=rf"^{tmp_path}/tokenizer.json is not a Hugging Face"):
        files.vocabulary()
    files.close()
    assert (tmp_path / "tokenizer.json").is_file()


def test_what_is_wrong_with_a_tokenizer_in_a_file_names_the_file(tmp_path):
    files = TokenizerFiles(_source({"tokenizer.json": b"{}"}, tmp_path / "a.gguf"))
    with pytest.raises(UserError, match=rf"^{tmp_path}/a.gguf/tokenizer.json is not a Hugging"):
        files.vocabulary()
    files.close()
    assert not files.directory.exists()


def test_a_model_without_a_chat_template_is_named_itself():
    files = TokenizerFiles(_source({}, Path("runs/a")))
    with pytest.raises(UserError, match=r"^runs/a has no chat template"):
        files.template()
