"""Writes a conversation as the text that a chat model was trained on, by the model's own template.

A template is a Jinja program that comes with a model, so it runs in Jinja's sandbox, where it can
read what it is given and nothing else, and in a process of limited time and memory. Everything
here is as in transformers' `apply_chat_template`.
"""

from __future__ import annotations

import atexit
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tlm_jax.errors import UserError
from tlm_jax.system.limited_process import LimitedProcess, NoReply
from tlm_jax.system.text_files import read_json_object, read_text

_TEMPLATE_FILE, _CONFIG_FILE = "chat_template.jinja", "tokenizer_config.json"


@dataclasses.dataclass(frozen=True)
class ChatTemplate:
    """How a model wants conversations written.

    Attributes:
      source: the Jinja program.
      special_tokens: what it may write by name, such as "bos_token".
    """

    source: str
    special_tokens: Mapping[str, str] = dataclasses.field(default_factory=dict)


def read_chat_template(directory: Path) -> ChatTemplate:
    """Returns the template of a model from `chat_template.jinja`, else `tokenizer_config.json`.

    Raises:
      UserError: there is none.
    """
    config_path, template_path = directory / _CONFIG_FILE, directory / _TEMPLATE_FILE
    config = read_json_object(config_path) if config_path.is_file() else {}
    source = config.get("chat_template")
    if isinstance(source, list):
        # Several for different uses, such as with tools.
        named = [entry for entry in source if isinstance(entry, Mapping)]
        source = {entry.get("name"): entry.get("template") for entry in named}.get("default")
    if template_path.is_file():
        source = read_text(template_path)
    if not isinstance(source, str | None):
        raise UserError(
            f"{config_path}: chat_template is a {type(source).__name__}, expected text or a list "
            "of objects with 'name' and 'template'"
        )
    if source is None:
        raise UserError(
            f"{directory} has no chat template: expected {_TEMPLATE_FILE}, or chat_template in "
            f"{_CONFIG_FILE}; a model without one was not trained on conversations"
        )
    tokens = {name: _text(value) for name, value in config.items() if name.endswith("_token")}
    return ChatTemplate(source, {name: text for name, text in tokens.items() if text is not None})


def render_chat(
    messages: Sequence[Mapping[str, str]],
    template: ChatTemplate | str,
    *,
    add_generation_prompt: bool = False,
) -> str:
    """Returns a conversation as text, special tokens included: encode it without adding any.

        >>> question = {"role": "user", "content": "2 + 2?"}
        >>> render_chat([question], template, add_generation_prompt=True)
        '<|im_start|>user\\n2 + 2?<|im_end|>\\n<|im_start|>assistant\\n'

    Args:
      messages: each with "role" ("system", "user", "assistant") and "content".
      template: of the model.
      add_generation_prompt: whether the text ends where the model's answer begins.

    Raises:
      UserError: the template is damaged, refuses these messages, or does not end on them.
    """
    if isinstance(template, str):
        template = ChatTemplate(template)
    question = {
        "source": template.source,
        "messages": [dict(message) for message in messages],
        "add_generation_prompt": add_generation_prompt,
        "special_tokens": dict(template.special_tokens),
    }
    try:
        reply = _worker.ask(question)
    except NoReply as gone:
        how = (
            f"ended its process with status {gone.status}"
            if gone.limit_seconds is None
            else f"has not ended after {gone.limit_seconds:g} seconds"
        )
        raise UserError(f"the chat template {how} on these messages") from None
    if "problem" in reply:
        raise UserError(f"the chat template {reply['problem']}")
    return reply["text"]


_worker = LimitedProcess("tlm_jax.data.chat_worker", limit_seconds=5.0, memory_bytes=1 << 30)
atexit.register(_worker.close)


def _text(token: Any) -> str | None:
    """Returns a token that is given as text, or with how it is found in text."""
    if isinstance(token, Mapping):
        token = token.get("content")
    return token if isinstance(token, str) else None
