"""Stop strings across tokens, and prompts too long for the window."""

from __future__ import annotations

import types
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import tokenizers

from tlm_jax.checkpoints.pretrained import Pretrained
from tlm_jax.data.vocabularies import ByteVocabulary, HuggingFaceVocabulary, Vocabulary
from tlm_jax.errors import UserError
from tlm_jax.runs.inference_config import PromptsConfig
from tlm_jax.runs.inference_prompts import Prompt
from tlm_jax.runs.inference_tokens import PromptEncoder, TokenizerFiles

BYTES = ByteVocabulary()


def encoder(
    longest: int | None,
    *,
    encoder_decoder: bool = False,
    vocabulary: Vocabulary = BYTES,
    **settings: Any,
) -> PromptEncoder:
    source = types.SimpleNamespace(companions={}, path=Path("runs/a"))
    files = TokenizerFiles(cast(Pretrained, source))
    files.close()
    config = PromptsConfig(file="prompts.jsonl", **settings)
    return PromptEncoder(
        vocabulary, files, config, encoder_decoder=encoder_decoder, longest=longest
    )


def test_a_decoder_reads_bos_and_text_an_encoder_text_and_eos():
    prompt = Prompt("1", "p.jsonl, line 1", text="ab")
    ab = BYTES.encode("ab").tolist()
    assert encoder(None).encode(prompt) == [BYTES.bos_id, *ab]
    assert encoder(None, add_eos=True).encode(prompt) == [BYTES.bos_id, *ab, BYTES.eos_id]
    assert encoder(None, encoder_decoder=True).encode(prompt) == [*ab, BYTES.eos_id]


def test_bos_is_the_habit_of_the_tokenizer_or_what_is_said(tmp_path):
    prompt = Prompt("1", "", text="w5")
    assert encoder(None, add_bos=False).encode(prompt) == BYTES.encode("w5").tolist()
    words = {"<pad>": 0, "<s>": 1, "</s>": 2, "w5": 3, "a": 4}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="<pad>"))
    for habit, expected in ((False, [3]), (True, [1, 3])):
        if habit:
            tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
                single="<s> $A", special_tokens=[("<s>", 1)]
            )
        path = tmp_path / f"{habit}" / "tokenizer.json"
        path.parent.mkdir()
        tokenizer.save(str(path))
        own = HuggingFaceVocabulary(str(path))
        assert encoder(None, vocabulary=own).encode(prompt) == expected
        task = Prompt("1", "", text="w5", token_ids=np.asarray([3], np.int32))
        assert encoder(None, vocabulary=own).encode(task) == [1, 3]


def test_a_long_prompt_is_an_error_or_keeps_its_end():
    prompt = Prompt("q7", "p.jsonl, line 7", text="abcdefgh")
    with pytest.raises(UserError, match=r"p.jsonl, line 7: the prompt 'q7' has 9 tokens, .* for 5"):
        encoder(5).encode(prompt)
    cutting = encoder(5, too_long="keep_end")
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
