"""Fields of a GGUF file's tokenizer that do not belong together are named."""

import pytest

from tlm_jax.checkpoints.formats.gguf_tokenizer import tokenizer_files
from tlm_jax.errors import UserError


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tokens": 3}, "its tokens are not a list of str"),
        ({"tokens": ["a", 1, "c"]}, "its tokens are not a list of str"),
        ({"token_type": [1.0, 1.0, 1.0]}, "its token_type are not a list of int"),
        ({"token_type": [1]}, "it has 3 tokens but 1 token_type"),
        ({"scores": [0.0, 1.0]}, "it has 3 tokens but 2 scores"),
        ({"scores": ["0"] * 3}, "its scores are not a list of float"),
        ({"scores": None}, "it has no scores"),
        ({"model": "gpt2"}, "it has no merges"),
        ({"merges": ["a b c"]}, "its merge 'a b c' is not two pieces"),
        ({"bos_token_id": 3}, "its bos_token_id is 3, but it has 3 tokens"),
        ({"eos_token_id": "2"}, "its eos_token_id is '2', but it has 3 tokens"),
    ],
)
def test_damage_is_named(tmp_path, changes, message):
    path = tmp_path / "model.gguf"
    fields = {"model": "llama", "scores": [0.0, -1.0, -2.0], "tokens": ["a", "b", "ab"]} | changes
    metadata = {f"tokenizer.ggml.{name}": x for name, x in fields.items() if x is not None}
    with pytest.raises(UserError) as raised:
        tokenizer_files(metadata, path)
    assert str(raised.value) == f"{path}: the tokenizer in it is damaged: {message}; get it again"
