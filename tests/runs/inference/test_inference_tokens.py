"""Stop strings across tokens, and prompts too long for the window."""

from __future__ import annotations

import types
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from tlm_jax.checkpoints.pretrained import Pretrained
from tlm_jax.data.reading import Reading
from tlm_jax.errors import UserError
from tlm_jax.runs.inference.config import PromptsConfig
from tlm_jax.runs.inference.prompts import Prompt
from tlm_jax.runs.inference.tokens import PromptEncoder, TokenizerFiles
from tlm_jax.vocabularies import ByteVocabulary

BYTES = ByteVocabulary()


DECODER = Reading(BYTES.bos_id, prompt_eos=True)


def encoder(longest: int | None, reading: Reading = DECODER, **settings: Any) -> PromptEncoder:
    source = types.SimpleNamespace(companions={}, path=Path("runs/a"))
    files = TokenizerFiles(cast(Pretrained, source))
    files.close()
    config = PromptsConfig(file="prompts.jsonl", **settings)
    return PromptEncoder(BYTES, files, config, reading=reading, longest=longest)


@pytest.mark.parametrize(
    ("reading", "before", "behind"),
    [
        (Reading(2, prompt_eos=True), [2], [BYTES.eos_id]),
        (Reading(2, prompt_eos=False), [2], []),
        (Reading(None, prompt_eos=False), [], []),
        (Reading(2, prompt_eos=True, one_sequence=False), [], [BYTES.eos_id]),
    ],
)
def test_a_prompt_of_a_file_has_around_it_what_the_model_reads(reading, before, behind):
    ab = BYTES.encode("ab").tolist()
    prompt = Prompt("1", "p.jsonl, line 1", text="ab")
    assert encoder(None, reading).encode(prompt) == [*before, *ab, *behind]
    # Those of a task have their end already.
    task = Prompt("1", "", text="ab", token_ids=np.asarray([7, 8], np.int32))
    assert encoder(None, reading).encode(task) == [*before, 7, 8]


def test_a_long_prompt_is_an_error_or_keeps_its_end():
    prompt = Prompt("q7", "p.jsonl, line 7", text="abcdefgh")
    plain = Reading(BYTES.bos_id, prompt_eos=False)
    with pytest.raises(UserError, match=r"p.jsonl, line 7: the prompt 'q7' has 9 tokens, .* for 5"):
        encoder(5, plain).encode(prompt)
    cutting = encoder(5, plain, too_long="keep_end")
    assert cutting.encode(prompt) == [BYTES.bos_id, *BYTES.encode("efgh")]
    assert cutting.encode(Prompt("q8", "", text="abcd")) == [BYTES.bos_id, *BYTES.encode("abcd")]
    assert cutting.cut == 1


def test_a_model_without_a_chat_template_is_named_itself():
    prompt = Prompt("1", "", messages=({"role": "user", "content": "Hi"},))
    with pytest.raises(UserError, match=r"^runs/a has no chat template"):
        encoder(None).encode(prompt)


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
