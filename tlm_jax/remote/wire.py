"""Requests and answers of the OpenAI protocol: chat/completions and completions.

Source: the OpenAI API reference and vLLM's extensions of it (`top_k`, `min_p`,
`repetition_penalty`, `token_ids`), which are sent only where they are asked for.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tlm_jax.messages import text_of_content
from tlm_jax.remote.json_fields import (
    MalformedAnswer,
    clean,
    count,
    logprob,
    optional,
    required,
    token_id,
)


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
      logprobs: natural logarithm of each token's probability, None where the server does not say:
        for all, or for the first token of an echoed prompt, say.
      top_logprobs: for each token the candidates' log-probabilities by their text.
      reasoning: what the model wrote before the text, where the server parts the two.
      prompt_tokens: as the server counts them; 0 where it does not.
      completion_tokens: likewise.
      cached: whether it came from the cache.
    """

    text: str
    finish_reason: str
    tokens: tuple[str, ...] | None = None
    token_ids: tuple[int, ...] | None = None
    logprobs: tuple[float | None, ...] | None = None
    top_logprobs: tuple[Mapping[str, float], ...] | None = None
    reasoning: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached: bool = False


def parse_completion(body: Any) -> Completion:
    """Reads the answer to a request of either kind.

    What is only counted (`usage`) costs no answer: a number of tokens that is none is 0.

    Raises:
      MalformedAnswer: it is not what the protocol says.
    """
    choices = required(body, "choices", list, "the answer")
    if not choices:
        raise MalformedAnswer("'choices' of the answer is empty")
    choice = choices[0]
    text, reasoning = _texts(choice)
    usage = body.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    listed = optional(choice, "logprobs", dict, "the first choice") or {}
    tokens, logprobs, top = _chat_logprobs(listed) if "content" in listed else _logprobs(listed)
    ids = optional(choice, "token_ids", list, "the first choice")
    finish_reason = optional(choice, "finish_reason", str, "the first choice") or "unknown"
    if clean(finish_reason) != finish_reason:
        raise MalformedAnswer("'finish_reason' of the first choice holds half a surrogate pair")
    return Completion(
        text=clean(text),
        finish_reason=finish_reason,
        tokens=tokens,
        token_ids=None if ids is None else tuple(token_id(i) for i in ids),
        logprobs=logprobs,
        top_logprobs=top,
        reasoning=clean(reasoning),
        prompt_tokens=count(usage.get("prompt_tokens")),
        completion_tokens=count(usage.get("completion_tokens")),
    )


_THOUGHTS = ("thinking", "reasoning")
"""Types of parts of a message that are no part of the answer."""


def _texts(choice: Any) -> tuple[str, str]:
    """Returns the text, and the reasoning before it, which few servers tell apart."""
    if not (isinstance(choice, dict) and "message" in choice):
        return required(choice, "text", str, "the first choice"), ""
    message = required(choice, "message", dict, "the first choice")
    content = message.get("content")
    reasoning = message.get("reasoning_content") or message.get("reasoning")
    if content is None:
        text = ""  # the model wrote nothing
    elif (text := text_of_content(content, without=_THOUGHTS)) is None:
        raise MalformedAnswer(f"'content' of the message is {str(content)[:40]!r}, not text")
    return text, reasoning if isinstance(reasoning, str) else ""


_Listed = tuple[
    tuple[str, ...] | None, tuple[float | None, ...] | None, tuple[Mapping[str, float], ...] | None
]


def _chat_logprobs(listed: Mapping[str, Any]) -> _Listed:
    entries = optional(listed, "content", list, "'logprobs'")
    if entries is None:
        return None, None, None
    where = "an entry of 'logprobs'"
    tokens = tuple(_token(entry, where) for entry in entries)
    logprobs = tuple(logprob(entry.get("logprob")) for entry in entries)
    top = tuple(
        _by_text(
            (_token(candidate, where), logprob(candidate.get("logprob")))
            for candidate in optional(entry, "top_logprobs", list, where) or ()
        )
        for entry in entries
    )
    return tokens, logprobs, top if any(top) else None


def _token(entry: Any, where: str) -> str:
    """Returns a token's text; bytes that are none as OpenAI does, `bytes:\\xf0\\x9f`."""
    text = clean(required(entry, "token", str, where))
    given = optional(entry, "bytes", list, where)
    if "\ufffd" not in text or not given:
        return text
    return "bytes:" + "".join(f"\\x{token_id(byte) & 0xFF:02x}" for byte in given)


def _by_text(found: Iterable[tuple[str, float | None]]) -> dict[str, float]:
    """Returns log-probabilities by text; of tokens with the same text the most probable counts.

    A candidate without a log-probability says nothing, and is left out.
    """
    best: dict[str, float] = {}
    for text, value in found:
        if value is not None:
            best[text] = max(value, best.get(text, value))
    return best


def _logprobs(listed: Mapping[str, Any]) -> _Listed:
    values = optional(listed, "token_logprobs", list, "'logprobs'")
    if values is None:
        return None, None, None
    tokens = tuple(_text(token) for token in required(listed, "tokens", list, "'logprobs'"))
    if len(tokens) != len(values):
        raise MalformedAnswer(f"{len(tokens)} tokens with {len(values)} log-probabilities")
    found = optional(listed, "top_logprobs", list, "'logprobs'") or []
    top = tuple(
        # Null where the server has none, as at the first token of an echoed prompt.
        _by_text((_text(token), logprob(value)) for token, value in _entry(entry).items())
        for entry in found
    )
    if top and len(top) != len(tokens):
        raise MalformedAnswer(f"{len(tokens)} tokens with candidates for {len(top)}")
    return tokens, tuple(logprob(value) for value in values), top if any(top) else None


def _entry(entry: Any) -> Mapping[str, Any]:
    if entry is not None and not isinstance(entry, dict):
        raise MalformedAnswer(f"an entry of 'top_logprobs' is {type(entry).__name__}, not dict")
    return entry or {}


def _text(token: Any) -> str:
    if not isinstance(token, str):
        raise MalformedAnswer(f"a token is {str(token)[:40]!r}, not text")
    return clean(token)
