"""The tokens of a server's answer and their candidates, as steps, whatever form they have.

Chat completions (`logprobs.content[]`, with bytes), completions (`logprobs.tokens`), candidates by
token id as vLLM's offline interface has them, and samples of `tlm_jax.infer` (`tokens`, `logprobs`,
`candidates`). Source: the API references of OpenAI and vLLM.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from tlm_jax.data.teacher_imports.captured import (
    END_OF_TEXT,
    Piece,
    Step,
    ends_text,
    is_special,
    piece_of,
)
from tlm_jax.data.teacher_imports.raw_pieces import as_text

ROUNDING_NATS = 5e-3
"""Log-probabilities rounded to two decimals, or of bfloat16, are off by no more."""

_LEAST_LOGPROB = -1000.0
"""Below this a server means a probability of zero (-9999 is customary): JSON has no infinity."""

_REPLACED = "\ufffd"
"""What a server writes for bytes that are no UTF-8 by themselves."""

_OF_PROMPT = "log-probabilities of the prompt alone (prompt_logprobs): ask with logprobs"
_TOKEN_ID = re.compile(r"token_id:\d+")
_STOPPED = frozenset(("stop", "eos", "eos_token", "end_turn", "stop_sequence"))


@dataclasses.dataclass(frozen=True)
class Solution:
    """What a choice says.

    Attributes:
      text: without the token that ended it, where the server writes that along.
      steps: its tokens; None where the server gave no log-probabilities.
      problem: why they cannot be used.
      begins_unknown: whether the first token has no log-probability, as that of an echoed prompt.
    """

    text: str
    steps: Sequence[Step] | None = None
    problem: str = ""
    begins_unknown: bool = False


def read_choice(choice: Mapping[str, Any], text: str, ends: Collection[str]) -> Solution:
    """Returns the text and the steps of a choice.

    Args:
      choice: of an answer.
      text: that it holds.
      ends: names of tokens that end a text, beside those that are known.
    """
    try:
        entries = _entries(choice)
        if entries is None:
            of_prompt = bool(choice.get("prompt_logprobs"))
            return Solution(text, problem=_OF_PROMPT if of_prompt else "")
        if any(entry["token"] is None or _TOKEN_ID.fullmatch(entry["token"]) for entry in entries):
            problem = "ids in place of tokens' texts (return_tokens_as_token_ids): ask without it"
            return Solution(text, problem=problem)
        unknown = bool(entries) and "message" not in choice and entries[0].get("logprob") is None
        ended = choice.get("finish_reason") in _STOPPED
        last = entries[-1] if entries and choice.get("finish_reason") != "length" else {}
        name = last.get("token", "")
        if ended and is_special(name) and not ends_text(name):
            ends = {*ends, name}
        text = _without_end(text, entries, ends)
        steps = [_step(entry, last, ends) for entry in as_text(entries, text)]
        return Solution(text, steps, begins_unknown=unknown)
    except _NoLogprob:
        return Solution(text, problem="with a number that is no log-probability")
    except (KeyError, StopIteration, TypeError, ValueError, AttributeError, OverflowError):
        return Solution(text, problem="'logprobs' is not what the protocol says")


class _NoLogprob(Exception):
    """A number that is no log-probability."""


def _without_end(text: str, entries: Sequence[Mapping[str, Any]], ends: Collection[str]) -> str:
    """Returns the text without the special tokens that its last tokens wrote."""
    for entry in reversed(entries):
        token = entry["token"]
        if token.strip() and not (is_special(token) or token in ends):
            break
        text = text.rstrip()
        text = text[: len(text) - len(token)] if token.strip() and text.endswith(token) else text
    return text


def _entries(choice: Mapping[str, Any]) -> Sequence[Mapping[str, Any]] | None:
    """Returns the tokens in the form of chat completions, whatever form they have."""
    listed = choice.get("logprobs")
    if isinstance(listed, Mapping) and listed.get("content") is not None:
        return listed["content"]
    if isinstance(listed, list) and listed and isinstance(listed[0], Mapping):
        return _entries_by_id(listed, choice.get("token_ids"))
    if isinstance(listed, Mapping) and listed.get("token_logprobs") is not None:
        written, logprobs = listed["tokens"], listed["token_logprobs"]
        tops = [(top or {}).items() for top in listed.get("top_logprobs") or [None] * len(written)]
    elif isinstance(listed, list) and choice.get("tokens") is not None:
        written, logprobs = choice["tokens"], listed
        none = {"tokens": [], "logprobs": []}
        candidates = choice.get("candidates") or [none] * len(written)
        tops = [zip(top["tokens"], top["logprobs"], strict=True) for top in candidates]
    else:
        return None
    return [
        {
            "token": token,
            "logprob": logprob,
            "top_logprobs": [{"token": other, "logprob": value} for other, value in top],
        }
        for token, logprob, top in zip(written, logprobs, tops, strict=True)
    ]


def _entries_by_id(
    listed: Sequence[Mapping[str, Mapping[str, Any]]], token_ids: Sequence[int] | None
) -> Sequence[Mapping[str, Any]]:
    """Returns the tokens of candidates by id; without ids of the written ones, each stands first.

    vLLM puts the written token in front of the most probable ones, whatever its rank.
    """

    def one(candidate: Mapping[str, Any]) -> dict[str, Any]:
        return {"token": candidate["decoded_token"], "logprob": candidate["logprob"]}

    ids = [next(iter(top)) for top in listed] if token_ids is None else [*map(str, token_ids)]
    return [
        {**one(top[number]), "top_logprobs": [one(candidate) for candidate in top.values()]}
        for number, top in zip(ids, listed, strict=True)
    ]


def _step(entry: Mapping[str, Any], last: Mapping[str, Any], ends: Collection[str]) -> Step:
    """Returns a token's step: its candidates and itself, each once.

    Of candidates with the same text the most probable counts, as in `tlm_jax.remote`; the others'
    mass becomes part of the tail. One without a log-probability says nothing, and is left out.
    llama.cpp gives a character of several tokens as one entry, with the candidates of its last
    token: these say nothing about the character, and are left out.

    Args:
      entry: as of chat completions.
      last: the text's last one, where it may be the token that ends it.
      ends: names of tokens that end a text, beside those that are known.
    """
    found: dict[Piece | None, float] = {}
    for top in entry.get("top_logprobs") or ():
        _add(found, _piece(top, last, ends), top["logprob"])
    piece = _piece(entry, last, ends)
    best = max(found, key=found.__getitem__, default=b"")
    if piece is not None and _within_character(best) and not _within_character(piece):
        return Step(piece, ())
    if piece is None:
        piece = piece_of(entry["token"])
    _add(found, piece, entry.get("logprob"))
    return Step(piece, tuple((other, p) for other, p in found.items() if other is not None))


def _add(found: dict[Piece | None, float], piece: Piece | None, logprob: Any) -> None:
    if logprob is not None:
        value = _nats(logprob)
        found[piece] = max(value, found.get(piece, value))


def _piece(
    entry: Mapping[str, Any], last: Mapping[str, Any], ends: Collection[str]
) -> Piece | None:
    """Returns what a token adds to the text; None where the text is no UTF-8 and no bytes tell.

    llama.cpp writes the token that ends a text, and every other special one, as an empty text.
    """
    token, given = entry["token"], entry.get("bytes")
    if token in ends:
        return END_OF_TEXT
    if token == "" and not given:
        is_end = last.get("token") == "" and entry.get("id") == last.get("id")
        return END_OF_TEXT if is_end else b""
    if given is None and _REPLACED in token:
        return None
    return piece_of(token, given)


def _within_character(piece: Piece | None) -> bool:
    """Whether a token goes on with a character of UTF-8 that began before it, or may do so."""
    return piece is None or (isinstance(piece, bytes) and 0x80 <= (piece or b"\0")[0] < 0xC0)


def _nats(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not value <= ROUNDING_NATS:
        raise _NoLogprob
    return float(value) if value > _LEAST_LOGPROB else -math.inf
