"""Hugging Face tokenizers as vocabularies."""

from __future__ import annotations

import dataclasses
import functools
import json
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

    Special tokens not given are taken from `tokenizer_config.json` and `special_tokens_map.json`
    in the same folder as transformers takes them (`special_token_names`), else from the names in
    common use. Tokens of `added_tokens_decoder` of the former, or of `added_tokens.json`, are
    added, with whether they take the white space beside them, stand as words of their own, and are
    looked for in normalized text; what is said there goes before `tokenizer.json`.

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
            if configured is None:
                why = "cannot tell which token ends a sequence"
                remedy = ", such as '</s>'."
            else:
                why = (
                    f"has no token {configured!r}, which ends a sequence by the "
                    "tokenizer_config.json or special_tokens_map.json beside it"
                )
                close = nearest(configured, self.tokenizer.get_vocab())
                remedy = f".{close}" if close else ", or copy the files anew."
            raise UserError(f"{self.path} {why}; set eos_token to one of its tokens{remedy}")
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
        added = _added_tokens(expanded(self.path).parent)
        try:
            read = _Read(content, *_parsed(content, json.dumps(added, sort_keys=True)))
        except Exception as error:
            raise UserError(f"{self.path} is not a Hugging Face tokenizer.json: {error}") from error
        for written, token in added.items():
            token_id = token["id"]
            if (found := read.tokenizer.token_to_id(written)) != token_id:
                raise UserError(
                    f"{self.path} has {written!r} as token {found}, but the added tokens beside it "
                    f"(tokenizer_config.json, added_tokens.json) say {token_id}: copy the files "
                    "of one model"
                )
        return read

    @functools.cached_property
    def _fingerprint(self) -> str:
        bos_id = self.bos_id if self.has_bos else PAD_ID
        ids = f"{self.eos_id} {bos_id} {self.unk_id}"
        ids += self._read.added_identity
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
        """Returns what the files beside it say of a role, which need not be a token."""
        return self._names.get(f"{role}_token")

    @functools.cached_property
    def _names(self) -> Mapping[str, str]:
        return special_token_names(expanded(self.path).parent)


def special_token_names(directory: Path) -> dict[str, str]:
    """Returns how a folder's special tokens are written, by role, such as "eos_token".

    As in transformers: `special_tokens_map.json` goes before `tokenizer_config.json`, unless the
    latter has `added_tokens_decoder`, with which newer versions write everything into it.

    Raises:
      UserError: a file is damaged, or a role that every tokenizer has is no text.
    """
    config, others = (
        read_json_object(directory / name) if (directory / name).is_file() else {}
        for name in (CONFIG_FILE, SPECIAL_TOKENS_FILE)
    )
    newer = "added_tokens_decoder" in config
    found: dict[str, str] = {}
    for name in dict.fromkeys((*config, *others)):
        if not name.endswith("_token"):
            continue
        here = name in config and (newer or name not in others)
        value = (config if here else others)[name]
        value = value.get("content") if isinstance(value, Mapping) else value
        if isinstance(value, str):
            found[name] = value
        elif value is not None and name.removesuffix("_token") in _CUSTOMARY_TOKENS:
            path = directory / (CONFIG_FILE if here else SPECIAL_TOKENS_FILE)
            raise UserError(f"{path}: {name} is {value!r}, expected text")
    return found


def _added_tokens(directory: Path) -> dict[str, dict[str, Any]]:
    """Returns tokens that files beside tokenizer.json add: "id", and what is said of each."""
    config, added = directory / CONFIG_FILE, directory / "added_tokens.json"
    listed = read_json_object(config).get("added_tokens_decoder") if config.is_file() else None
    if isinstance(listed, Mapping):
        return {
            token["content"]: {"id": int(number)}
            | {name: token[name] for name in _FLAGS if isinstance(token.get(name), bool)}
            for number, token in listed.items()
            if number.isdecimal() and isinstance(token, Mapping) and "content" in token
        }
    found = read_json_object(added) if added.is_file() else {}
    return {text: {"id": number} for text, number in found.items() if isinstance(number, int)}


_FLAGS = ("special", "lstrip", "rstrip", "single_word", "normalized")
CONFIG_FILE, SPECIAL_TOKENS_FILE = "tokenizer_config.json", "special_tokens_map.json"
_CUSTOMARY_TOKENS = {
    "eos": ("</s>", "<eos>", "<|endoftext|>", "<|end_of_text|>", "<|im_end|>", "[SEP]"),
    "bos": ("<s>", "<bos>", "<|begin_of_text|>", "[CLS]"),
    "unk": ("<unk>", "[UNK]"),
    "pad": ("<pad>", "[PAD]"),
}


class _Read(NamedTuple):
    """A tokenizer.json and what is made of it.

    Attributes:
      content: of the file.
      tokenizer: with the tokens that stand beside it.
      size: of the vocabulary.
      beside: what these tokens change, for the fingerprint.
    """

    content: bytes
    tokenizer: Any
    size: int
    added_identity: str


@functools.lru_cache(maxsize=16)
def _parsed(content: bytes, added: str) -> tuple[Any, int, str]:
    import tokenizers

    tokenizer = tokenizers.Tokenizer.from_str(content.decode("utf-8"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    known = {
        token.content: _flags(token) for token in tokenizer.get_added_tokens_decoder().values()
    }
    num_missing, changed = 0, []
    for written, settings in sorted(json.loads(added).items(), key=lambda one: one[1]["id"]):
        flags = {name: value for name, value in settings.items() if name != "id"}
        token = tokenizers.AddedToken(written, **flags)
        missing = tokenizer.token_to_id(written) is None
        if known.get(written) == _flags(token):
            continue
        (tokenizer.add_special_tokens if token.special else tokenizer.add_tokens)([token])
        num_missing += missing
        common = tokenizers.AddedToken(written, special=token.special)
        if not missing or _flags(token) != _flags(common):
            changed.append((written, *_flags(token)))
    size = 1 + max(tokenizer.get_vocab(with_added_tokens=True).values())
    added_identity = f" and {size}" if num_missing else ""
    return tokenizer, size, added_identity + (f" with {changed}" if changed else "")


def _flags(token: Any) -> tuple[bool, ...]:
    return tuple(getattr(token, name) for name in _FLAGS)
