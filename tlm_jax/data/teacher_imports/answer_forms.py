"""Answers of the protocols that servers speak, as choices of chat completions or completions.

Read are the answers of OpenAI's chat completions, completions and responses, Gemini's
`generateContent`, vLLM's `RequestOutput` (`outputs`), Anthropic's messages (which have no
log-probabilities), samples of `tlm_jax.infer`, and chunks of one streamed answer in a list. Source:
the API references of OpenAI, Google and Anthropic, and of vLLM.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeGuard

from tlm_jax.messages import text_of_content

Fields = Mapping[str, Any]


class NoAnswer(Exception):
    """Why something is no answer, in words that many lines share, for counting."""


def choices_of(answer: Any) -> Sequence[Fields]:
    """Returns the choices of an answer, in the order of their `index`.

    Raises:
      NoAnswer: it is none, or says nothing.
    """
    if isinstance(answer, list) and answer and all(isinstance(one, Mapping) for one in answer):
        return _ordered(_joined(answer))
    if not isinstance(answer, Mapping):
        raise NoAnswer(_UNKNOWN)
    if "choices" in answer:
        choices = answer["choices"] or ()
        if not _are_objects(choices):
            raise NoAnswer(_UNKNOWN)
        if not choices and not is_chunk(answer):
            raise NoAnswer("an answer without choices")
        if is_chunk(answer):
            raise NoAnswer(_CHUNK)
        return _ordered(choices)
    if "text" in answer and "num_tokens" in answer:
        return [answer]  # a sample of tlm_jax.infer
    for name, read in _PROTOCOLS.items():
        if _are_objects(answer.get(name)) and answer[name]:
            return _ordered(read(answer))
    if answer.get("promptFeedback") or answer.get("candidates") == []:
        raise NoAnswer("an answer without choices")
    raise NoAnswer(_UNKNOWN)


def is_chunk(answer: Any) -> bool:
    """Whether this is part of a streamed answer; a part of completions has no end as yet."""
    if not isinstance(answer, Mapping):
        return False
    choices = answer.get("choices")
    return str(answer.get("object")).endswith(".chunk") or any(
        "delta" in choice or (choice.get("finish_reason", "") is None and "text" in choice)
        for choice in (choices if _are_objects(choices) else ())
    )


def last_question(body: Fields) -> Any:
    """Returns what a request asks last: the last of the user's messages, else its prompt."""
    messages = next((body[name] for name in _MESSAGES if isinstance(body.get(name), list)), ())
    for message in reversed(messages):
        if isinstance(message, Mapping) and message.get("role", "user") == "user":
            content = message.get("content", message.get("parts"))
            return text_of_content(_plain_parts(content))
    return body.get("prompt", body.get("input"))


def _ordered(choices: Sequence[Fields]) -> Sequence[Fields]:
    """Returns the choices by `index`, where each has one of its own; as they stand otherwise."""
    indices = [choice.get("index") for choice in choices]
    if any(type(index) is not int for index in indices) or len({*indices}) < len(indices):
        return choices
    return sorted(choices, key=lambda choice: choice["index"])


def _joined(chunks: Sequence[Fields]) -> Sequence[Fields]:
    """Returns the choices that the chunks of one streamed answer make together."""
    found: dict[Any, dict[str, Any]] = {}
    for chunk in chunks:
        parts: Any = chunk["choices"] or () if "choices" in chunk else None
        if not _are_objects(parts):
            raise NoAnswer(_UNKNOWN)
        for part in parts:
            _join(found.setdefault(part.get("index", 0), {"index": part.get("index", 0)}), part)
    if not found:
        raise NoAnswer("an answer without choices")
    return list(found.values())


def _join(choice: dict[str, Any], part: Fields) -> None:
    """Puts the next part of a streamed choice behind what there is of it."""
    delta = part.get("delta")
    whole: dict[str, Any] = (
        choice.setdefault("message", {}) if isinstance(delta, Mapping) else choice
    )
    held = delta if isinstance(delta, Mapping) else part
    for name in ("content", "text", "reasoning_content", "reasoning"):
        if isinstance(held.get(name), str):
            whole[name] = whole.get(name, "") + held[name]
    for name in ("finish_reason", "stop_reason"):
        if part.get(name) is not None:
            choice[name] = part[name]
    logprobs = part.get("logprobs")
    if not isinstance(logprobs, Mapping):
        return
    for name in _PER_TOKEN:
        if isinstance(logprobs.get(name), list):
            listed: dict[str, Any] = choice.setdefault("logprobs", {})
            listed[name] = [*listed.get(name, ()), *logprobs[name]]


def _of_responses(answer: Fields) -> Sequence[Fields]:
    """OpenAI's responses: items of reasoning, of messages, of calls."""
    items = answer["output"]
    parts = [
        part
        for item in items
        if item.get("type", "message") == "message"
        for part in _objects(item.get("content"))
    ]
    texts = [part.get("text") for part in parts if part.get("type") == "output_text"]
    thoughts = [
        part.get("text")
        for item in items
        if item.get("type") == "reasoning"
        for part in _objects(item.get("content"))
    ]
    if not texts or not all(isinstance(text, str) for text in [*texts, *thoughts]):
        raise NoAnswer("an answer without a text")
    entries = [entry for part in parts for entry in part.get("logprobs") or ()]
    ended = answer.get("status", "completed") == "completed"
    message = {"content": "".join(map(str, texts)), "reasoning": "".join(map(str, thoughts))}
    return [
        {
            "message": message,
            "finish_reason": "stop" if ended else "incomplete",
            "logprobs": {"content": entries} if entries else None,
        }
    ]


def _of_gemini(answer: Fields) -> Sequence[Fields]:
    """Gemini's candidates, each with the tokens that were chosen and the most probable ones."""
    found: list[Fields] = []
    for candidate in answer["candidates"]:
        content = candidate.get("content")
        parts = _objects(content.get("parts")) if isinstance(content, Mapping) else []
        thought, text = (
            "".join(str(part.get("text", "")) for part in parts if bool(part.get("thought")) is is_)
            for is_ in (True, False)
        )
        reason = str(candidate.get("finishReason", "STOP"))
        found.append(
            {
                **({"index": candidate["index"]} if "index" in candidate else {}),
                "message": {"content": text, "reasoning": thought},
                "finish_reason": _GEMINI_ENDS.get(reason, "content_filter"),
                "logprobs": _gemini_logprobs(candidate.get("logprobsResult")),
            }
        )
    return found


def _gemini_logprobs(result: Any) -> Fields | None:
    if not isinstance(result, Mapping) or not _are_objects(result.get("chosenCandidates")):
        return None
    tops = _objects(result.get("topCandidates"))

    def one(token: Fields) -> dict[str, Any]:
        return {"token": token.get("token"), "logprob": token.get("logProbability")}

    return {
        "content": [
            {
                **one(chosen),
                "top_logprobs": [
                    one(top)
                    for top in (_objects(tops[n].get("candidates")) if n < len(tops) else ())
                ],
            }
            for n, chosen in enumerate(result["chosenCandidates"])
        ]
    }


def _of_anthropic(answer: Fields) -> Sequence[Fields]:
    texts = [part["text"] for part in answer["content"] if isinstance(part.get("text"), str)]
    reason = answer.get("stop_reason")
    ended = {"message": {"content": "".join(texts)}, "finish_reason": reason, "logprobs": None}
    return [ended]


def _of_vllm(answer: Fields) -> Sequence[Fields]:
    if not all("text" in output for output in answer["outputs"]):
        raise NoAnswer(_UNKNOWN)
    return answer["outputs"]


def _plain_parts(content: Any) -> Any:
    """Returns a message's parts with one name for text, whatever the protocol calls it."""
    if not _are_objects(content):
        return content
    plain = ("input_text", "text", None)
    return [
        {"type": "text", "text": part.get("text")} if part.get("type") in plain else part
        for part in content
    ]


def _are_objects(value: Any) -> TypeGuard[Sequence[Fields]]:
    return isinstance(value, Sequence) and all(isinstance(one, Mapping) for one in value)


def _objects(value: Any) -> list[Fields]:
    listed: Iterable[Any] = value if isinstance(value, list) else ()
    return [one for one in listed if isinstance(one, Mapping)]


_PROTOCOLS = {
    "output": _of_responses,
    "candidates": _of_gemini,
    "outputs": _of_vllm,
    "content": _of_anthropic,
}
"""The field that holds an answer in each protocol, and what reads it."""

_MESSAGES = ("messages", "input", "contents")
_PER_TOKEN = ("content", "tokens", "token_logprobs", "top_logprobs")
_GEMINI_ENDS = {"STOP": "stop", "MAX_TOKENS": "length"}
_UNKNOWN = (
    "no answer of a server: expected 'choices', or 'response' with them, or an answer of OpenAI's "
    "responses, of Gemini or of vLLM, or a sample of tlm_jax.infer"
)
_CHUNK = (
    "a chunk of a streamed answer: join the chunks of each answer into one list, or ask with "
    "stream=False"
)
