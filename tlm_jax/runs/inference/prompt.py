"""A prompt, and how one is read from an object of a JSON Lines file."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Integer

from tlm_jax.errors import UserError, nearest
from tlm_jax.evaluation.rules.registry import RULES
from tlm_jax.messages import text_of_content

Messages = Sequence[Mapping[str, str]]
Tokens = Integer[np.ndarray, "n"]


@dataclasses.dataclass(frozen=True)
class Prompt:
    """One prompt; of `text` and `messages` one is set.

    Attributes:
      id: unique among the run's prompts.
      place: where it stands, for error messages.
      text: to be continued.
      messages: to be answered.
      token_ids: of `text`, as the model reads its task; None where a file gave the text.
      as_read: the text of `token_ids`, special tokens apart; None where it is `text`.
      gold: the right answer; None where there is none.
      kind: of answer: the rule by which it is graded.
      options: texts of the options of a choice.
      question: what is asked, without the wording around it, by which caches of teachers know it;
        None where only the prompt is known.
    """

    id: str
    place: str
    text: str | None = None
    messages: Messages | None = None
    token_ids: Tokens | None = None
    as_read: str | None = None
    gold: str | None = None
    kind: str = "numeric"
    options: tuple[str, ...] | None = None
    question: str | None = None


def prompt_of_row(row: Mapping[str, Any], place: str, default_id: str) -> Prompt:
    """Returns the prompt in an object of a file: `prompt`, `messages`, `question`, and what grades.

    Args:
      row: with any of `id`, `prompt`, `messages`, `question`, `options`, `answer`, `kind`.
      place: of the object, for errors.
      default_id: where it has none.

    Raises:
      UserError: one of them is of another type than it should be.
    """
    for name in ("prompt", "question"):
        if not isinstance(row.get(name), str | None):
            raise UserError(f"{place}: {name!r} is {type(row[name]).__name__}, expected text")
    options, messages = row.get("options"), row.get("messages")
    if options is not None and not _all_text(options):
        raise UserError(f"{place}: 'options' is expected to be a list of texts")
    gold: dict[str, Any] = {}
    if row.get("answer") not in (None, ""):
        gold = {"gold": str(row["answer"]), "kind": checked_kind(row, place)}
    return Prompt(
        id=str(row.get("id", default_id)),
        place=place,
        text=row.get("prompt"),
        messages=None if messages is None else _messages(messages, place),
        options=None if options is None else tuple(options),
        question=row.get("question"),
        **gold,
    )


def checked_kind(row: Mapping[str, Any], place: str) -> str:
    """Returns the kind of a row's answer, "numeric" if it has none.

    Raises:
      UserError: there is no such kind.
    """
    kind = row.get("kind", "numeric")
    if not isinstance(kind, str) or kind not in RULES:
        raise UserError(
            f"{place}: 'kind' of the answer is {kind!r}, expected one of {', '.join(RULES)}."
            + nearest(str(kind), RULES)
        )
    return kind


def as_conversation(prompt: Prompt, system: str | None) -> Prompt:
    """Returns the prompt as messages, a text as a user's, behind a system message if there is none.

    Args:
      prompt: with text or messages.
      system: the system message; None for none.
    """
    messages = list(prompt.messages or [{"role": "user", "content": prompt.text or ""}])
    if system is not None and messages[0]["role"] != "system":
        messages.insert(0, {"role": "system", "content": system})
    return dataclasses.replace(
        prompt, text=None, as_read=None, token_ids=None, messages=tuple(messages)
    )


def _messages(messages: Any, place: str) -> Messages:
    right = isinstance(messages, list) and all(
        isinstance(message, dict)
        and isinstance(message.get("role"), str)
        and text_of_content(message.get("content")) is not None
        for message in messages
    )
    if not right:
        raise UserError(
            f"{place}: 'messages' is expected to be a list of objects with 'role' and 'content', "
            "both text (or, as content, a list of parts of type 'text')"
        )
    for number, message in enumerate(messages):
        called = [name for name in _CALLS if message.get(name)]
        if called:
            raise UserError(
                f"{place}: message {number + 1} of 'messages' has {called[0]!r}, but only 'role' "
                "and 'content' are passed on, which asks something else: write the call as text, "
                "or leave the line out"
            )
    return tuple(
        {"role": m["role"], "content": text_of_content(m["content"]) or ""} for m in messages
    )


_CALLS = ("tool_calls", "function_call")


def _all_text(values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(value, str) for value in values)
