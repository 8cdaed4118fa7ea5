"""Requests and answers of the OpenAI protocol: chat/completions and completions.

Source: the OpenAI API reference and vLLM's extensions of it (`top_k`, `min_p`,
`repetition_penalty`, `token_ids`), which are sent only where they are asked for.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any


@dataclasses.dataclass(frozen=True)
class Request:
    """One sample to be generated.

    Attributes:
      prompt: text to be continued; None for a conversation.
      messages: a conversation to be answered, each with "role" and "content"; None for a prompt.
      max_tokens: most tokens generated.
      temperature: 0 takes the most probable token.
      top_k: of so many most probable tokens; None for all.
      top_p: of the fewest tokens with this much probability.
      min_p: of the tokens with at least this share of the most probable one's probability.
      repetition_penalty: divides the logits of tokens seen before; 1 changes nothing.
      stop: texts at which generation ends.
      seed: of the sampling; None for none.
      logprobs: whether log-probabilities of the tokens are wanted.
      top_logprobs: how many candidates a token are wanted with theirs.
      extra: further fields of the request, for this or that server.
    """

    prompt: str | None = None
    messages: Sequence[Mapping[str, str]] | None = None
    max_tokens: int = 256
    temperature: float = 1.0
    top_k: int | None = None
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    stop: Sequence[str] = ()
    seed: int | None = None
    logprobs: bool = True
    top_logprobs: int = 0
    extra: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def endpoint(self) -> str:
        """The path below the server's base URL."""
        return "completions" if self.messages is None else "chat/completions"

    def payload(self, model: str) -> dict[str, Any]:
        """Returns the JSON object to be posted."""
        fields: dict[str, Any] = {
            "model": model,
            "max_tokens": self.max_tokens,
            "temperature": self.temperature,
        }
        if self.messages is None:
            fields["prompt"] = self.prompt
            if self.logprobs:
                fields["logprobs"] = max(self.top_logprobs, 1)
        else:
            fields["messages"] = [dict(message) for message in self.messages]
            if self.logprobs:
                fields["logprobs"] = True
                if self.top_logprobs:
                    fields["top_logprobs"] = self.top_logprobs
        for name, neutral in _NEUTRAL.items():
            value = getattr(self, name)
            if value != neutral:
                fields[name] = list(value) if name == "stop" else value
        return fields | dict(self.extra)


_NEUTRAL = {
    "top_k": None,
    "top_p": 1.0,
    "min_p": 0.0,
    "repetition_penalty": 1.0,
    "stop": (),
    "seed": None,
}
"""Settings that are not sent where they change nothing: not every server knows all of them."""


@dataclasses.dataclass(frozen=True)
class Completion:
    """What a server generated.

    Attributes:
      text: without the prompt.
      finish_reason: "stop" (an end token or a stop string), "length", or what the server calls it.
      tokens: the text of each token, or its bytes, as `bytes:\\xf0\\x9f`, where they are no text;
        None where the server does not say.
      token_ids: None where the server does not say.
      logprobs: natural logarithm of each token's probability; None where the server does not say.
      top_logprobs: for each token the candidates' log-probabilities by their text.
      prompt_tokens: as the server counts them; 0 where it does not.
      completion_tokens: likewise.
      cached: whether it came from the cache.
    """

    text: str
    finish_reason: str
    tokens: tuple[str, ...] | None = None
    token_ids: tuple[int, ...] | None = None
    logprobs: tuple[float, ...] | None = None
    top_logprobs: tuple[Mapping[str, float], ...] | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached: bool = False


_LEAST_LOGPROB = -9999.0
"""What servers write for a probability of zero; JSON has no infinity."""


class MalformedAnswer(ValueError):
    """JSON that is no completion; the message says where it differs."""


def parse_completion(body: Any) -> Completion:
    """Reads the answer to a request of either kind.

    Raises:
      MalformedAnswer: it is not what the protocol says.
    """
    choices = _field(body, "choices", list, "the answer")
    if not choices:
        raise MalformedAnswer("'choices' of the answer is empty")
    choice = choices[0]
    if isinstance(choice, dict) and "message" in choice:
        message = _field(choice, "message", dict, "the first choice")
        # Null where the model wrote nothing.
        text = _optional(message, "content", str, "the message") or ""
    else:
        text = _field(choice, "text", str, "the first choice")
    usage = _optional(body, "usage", dict, "the answer") or {}
    listed = _optional(choice, "logprobs", dict, "the first choice") or {}
    tokens, logprobs, top = _chat_logprobs(listed) if "content" in listed else _logprobs(listed)
    ids = _optional(choice, "token_ids", list, "the first choice")
    return Completion(
        text=_clean(text),
        finish_reason=_optional(choice, "finish_reason", str, "the first choice") or "unknown",
        tokens=tokens,
        token_ids=None if ids is None else tuple(_integer(i) for i in ids),
        logprobs=logprobs,
        top_logprobs=top,
        prompt_tokens=_integer(usage.get("prompt_tokens") or 0),
        completion_tokens=_integer(usage.get("completion_tokens") or 0),
    )


_Listed = tuple[
    tuple[str, ...] | None, tuple[float, ...] | None, tuple[Mapping[str, float], ...] | None
]


def _chat_logprobs(listed: Mapping[str, Any]) -> _Listed:
    entries = _optional(listed, "content", list, "'logprobs'")
    if entries is None:
        return None, None, None
    where = "an entry of 'logprobs'"
    tokens = tuple(_token(entry, where) for entry in entries)
    logprobs = tuple(_logprob(entry.get("logprob")) for entry in entries)
    top = tuple(
        _by_text(
            (_token(candidate, where), _logprob(candidate.get("logprob")))
            for candidate in _optional(entry, "top_logprobs", list, where) or ()
        )
        for entry in entries
    )
    return tokens, logprobs, top if any(top) else None


def _token(entry: Any, where: str) -> str:
    """Returns a token's text; bytes that are none as OpenAI does, `bytes:\\xf0\\x9f`."""
    text = _clean(_field(entry, "token", str, where))
    given = _optional(entry, "bytes", list, where)
    if "\ufffd" not in text or not given:
        return text
    return "bytes:" + "".join(f"\\x{_integer(byte) & 0xFF:02x}" for byte in given)


def _by_text(found: Iterable[tuple[str, float]]) -> dict[str, float]:
    """Returns log-probabilities by text; of tokens with the same text the most probable counts."""
    best: dict[str, float] = {}
    for text, value in found:
        best[text] = max(value, best.get(text, value))
    return best


def _logprobs(listed: Mapping[str, Any]) -> _Listed:
    values = _optional(listed, "token_logprobs", list, "'logprobs'")
    if values is None:
        return None, None, None
    tokens = tuple(_clean(str(token)) for token in _field(listed, "tokens", list, "'logprobs'"))
    if len(tokens) != len(values):
        raise MalformedAnswer(f"{len(tokens)} tokens with {len(values)} log-probabilities")
    found = _optional(listed, "top_logprobs", list, "'logprobs'")
    top = None
    if found and all(isinstance(entry, dict) for entry in found):
        top = tuple(
            {_clean(str(token)): _logprob(value) for token, value in entry.items()}
            for entry in found
        )
    return tokens, tuple(_logprob(value) for value in values), top


def _field(holder: Any, name: str, kind: type, where: str) -> Any:
    value = _optional(holder, name, kind, where)
    if value is None:
        raise MalformedAnswer(f"{where} has no {name!r}")
    return value


def _optional(holder: Any, name: str, kind: type, where: str) -> Any:
    if not isinstance(holder, dict):
        raise MalformedAnswer(f"{where} is no JSON object")
    value = holder.get(name)
    if value is not None and not isinstance(value, kind):
        raise MalformedAnswer(f"{name!r} of {where} is {type(value).__name__}, not {kind.__name__}")
    return value


def _clean(text: str) -> str:
    """Replaces halves of surrogate pairs, which JSON can hold and no file of UTF-8 can."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _integer(value: Any) -> int:
    if not isinstance(value, int):
        raise MalformedAnswer(f"expected a whole number, got {str(value)[:40]!r}")
    return value


def _logprob(value: Any) -> float:
    if not isinstance(value, int | float) or math.isnan(value):
        raise MalformedAnswer(f"expected a log-probability, got {str(value)[:40]!r}")
    return max(float(value), _LEAST_LOGPROB)
