"""Hugging Face tokenizers as vocabularies."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tlm_jax.errors import UserError, nearest
from tlm_jax.system.home import expanded
from tlm_jax.system.text_files import read_json_object
from tlm_jax.vocabularies.base import PAD_ID, Vocabulary, digest, read_vocabulary_file


@dataclasses.dataclass(frozen=True)
class HuggingFaceVocabulary(Vocabulary):
    """A Hugging Face `tokenizer.json`, read by the `tokenizers` library.

    Special tokens not given are taken from a `tokenizer_config.json` in the same folder, else
    from the names in common use.

    Attributes:
      path: the `tokenizer.json` file.
      eos_token: how the end of a sequence is written, such as `</s>`.
      bos_token: how its start is written.
      unk_token: how the inexpressible is written, if it is.
    """

    path: str
    eos_token: str | None = None
    bos_token: str | None = None
    unk_token: str | None = None

    @property
    def tokenizer(self) -> Any:
        """The `tokenizers.Tokenizer`, without truncation and padding."""
        return self._read.tokenizer

    @property
    def size(self) -> int:
        # Not the count of pieces: ids may have gaps, and an embedding must hold the largest.
        return self._read.size

    @property
    def eos_id(self) -> int:
        found = self._special("eos", self.eos_token)
        if found is None:
            configured = self._configured("eos")
            why = f": tokenizer_config.json beside it says {configured!r}, which it does not have"
            raise UserError(
                f"{self.path}: cannot tell which token ends a sequence"
                f"{why if configured is not None else ''}; set eos_token to one of its tokens, "
                "such as '</s>'."
            )
        return found

    @property
    def bos_id(self) -> int:
        found = self._special("bos", self.bos_token)
        return super().bos_id if found is None else found

    @property
    def has_bos(self) -> bool:
        return self._special("bos", self.bos_token) is not None

    @property
    def adds_bos(self) -> bool:
        """Whether the tokenizer writes BOS before a text by itself."""
        return self.has_bos and self.bos_id in self.tokenizer.encode("a").ids[:1]

    @property
    def unk_id(self) -> int | None:
        return self._special("unk", self.unk_token)

    @property
    def zero_is_padding(self) -> bool:
        return self._special("pad", None) == PAD_ID and self.eos_id != PAD_ID

    @property
    def fingerprint(self) -> str:
        return self._fingerprint

    def encode_batch(self, texts: Sequence[str]) -> list[np.ndarray]:
        encoded = self.tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [np.asarray(encoding.ids, dtype=np.int32) for encoding in encoded]

    def decode_text(self, ids: list[int]) -> str:
        return self.tokenizer.decode(ids, skip_special_tokens=True)

    def piece(self, token_id: int) -> str:
        return self.tokenizer.id_to_token(token_id) or f"<{token_id}?>"

    @functools.cached_property
    def _read(self) -> _Read:
        content = read_vocabulary_file(self.path)
        try:
            return _Read(content, *_parsed(content))
        except Exception as error:
            raise UserError(f"{self.path} is not a Hugging Face tokenizer.json: {error}") from error

    @functools.cached_property
    def _settings(self) -> Mapping[str, Any]:
        config = expanded(self.path).with_name("tokenizer_config.json")
        return read_json_object(config) if config.is_file() else {}

    @functools.cached_property
    def _fingerprint(self) -> str:
        bos_id = self.bos_id if self.has_bos else PAD_ID
        ids = f"{self.eos_id} {bos_id} {self.unk_id}"
        return digest(b"huggingface", self._read.content, ids.encode())

    def _special(self, role: str, given: str | None) -> int | None:
        """Returns the id of the token that plays `role`: as given, configured, or customary."""
        if given is not None:
            found = self.tokenizer.token_to_id(given)
            if found is None:
                known = self.tokenizer.get_vocab()
                raise UserError(
                    f"{self.path} has no token {given!r} (given as {role}_token)."
                    + nearest(given, known)
                )
            return found
        configured = self._configured(role)
        if configured is not None:
            return self.tokenizer.token_to_id(configured)
        ids = (self.tokenizer.token_to_id(token) for token in _CUSTOMARY_TOKENS[role])
        return next((i for i in ids if i is not None), None)

    def _configured(self, role: str) -> str | None:
        """Returns what `tokenizer_config.json` says of a role, which need not be a token."""
        configured = self._settings.get(f"{role}_token")
        if isinstance(configured, dict):
            configured = configured.get("content")
        if not isinstance(configured, str | None):
            raise UserError(
                f"{Path(self.path).with_name('tokenizer_config.json')}: {role}_token is "
                f"{configured!r}, expected text"
            )
        return configured


_CUSTOMARY_TOKENS = {
    "eos": ("</s>", "<eos>", "<|endoftext|>", "<|end_of_text|>", "<|im_end|>", "[SEP]"),
    "bos": ("<s>", "<bos>", "<|begin_of_text|>", "[CLS]"),
    "unk": ("<unk>", "[UNK]"),
    "pad": ("<pad>", "[PAD]"),
}


class _Read(NamedTuple):
    """A tokenizer.json and what is made of it."""

    content: bytes
    tokenizer: Any
    size: int


@functools.lru_cache(maxsize=16)
def _parsed(content: bytes) -> tuple[Any, int]:
    import tokenizers

    tokenizer = tokenizers.Tokenizer.from_str(content.decode("utf-8"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer, 1 + max(tokenizer.get_vocab(with_added_tokens=True).values())
