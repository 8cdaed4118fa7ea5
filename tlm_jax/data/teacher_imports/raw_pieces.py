"""Tokens that a server wrote as its tokenizer holds them (`ĠHello`, `▁Hello`), read as text.

Some servers write all tokens so, some only the candidates. What is raw shows where only the raw
reading writes the text, or where a candidate has a letter that stands for a space or a line feed
and neither the text nor the written tokens have it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tlm_jax.data.teacher_imports.captured import is_special
from tlm_jax.vocabularies.token_bytes import read_byte_level, read_sentencepiece

Entry = Mapping[str, Any]

_FORMS: tuple[tuple[str, Callable[[str], bytes]], ...] = (
    ("\u0120\u010a", read_byte_level),
    ("\u2581", read_sentencepiece),
)
"""Letters that stand for a space or a line feed, and how such pieces are read."""


def as_text(entries: Sequence[Entry], text: str) -> Sequence[Entry]:
    """Returns a text's tokens, as of chat completions, with the bytes that raw pieces stand for."""
    tokens = [_written(entry) for entry in entries]
    candidates = [_written(top) for entry in entries for top in entry.get("top_logprobs") or ()]
    wanted = text.strip().encode("utf-8", "surrogatepass")
    joined = "".join(token or "" for token in tokens)
    for letters, read in _FORMS:
        if any(letter in joined for letter in letters):
            raw = b"".join(read(token or "") for token in tokens if not is_special(token or ""))
            if wanted in raw and wanted not in joined.encode("utf-8", "surrogatepass"):
                return [_read(entry, read, lambda token: True) for entry in entries]
        elif any(letter in (token or "") for token in candidates for letter in letters):
            if any(letter in text for letter in letters):
                continue
            # With plain candidates among them, only what has such a letter is known to be raw.
            mixed = any(" " in (token or "") or "\n" in (token or "") for token in candidates)
            marks = letters if mixed else ""
            return [_with_candidates(entry, read, marks) for entry in entries]
    return entries


def _with_candidates(entry: Entry, read: Callable[[str], bytes], marks: str) -> Entry:
    def is_raw(token: str) -> bool:
        return not marks or any(letter in token for letter in marks)

    tops = [_one(top, read, is_raw) for top in entry.get("top_logprobs") or ()]
    return {**entry, "top_logprobs": tops}


def _read(entry: Entry, read: Callable[[str], bytes], is_raw: Callable[[str], bool]) -> Entry:
    tops = [_one(top, read, is_raw) for top in entry.get("top_logprobs") or ()]
    return {**_one(entry, read, is_raw), "top_logprobs": tops}


def _one(entry: Entry, read: Callable[[str], bytes], is_raw: Callable[[str], bool]) -> Entry:
    token = _written(entry)
    if token is None or is_special(token) or not is_raw(token):
        return entry
    return {**entry, "bytes": list(read(token))}


def _written(entry: Entry) -> str | None:
    """Returns a token's text, unless its bytes say that this is not how it is written."""
    token, given = entry["token"], entry.get("bytes")
    same = given is None or bytes(given) == token.encode("utf-8", "surrogatepass")
    return token if same else None
