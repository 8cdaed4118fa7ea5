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

from tlm_jax.errors import UserError, nearest
from tlm_jax.system.limited_process import LimitedProcess, NoReply
from tlm_jax.system.text_files import read_json_object, read_text
from tlm_jax.vocabularies.hugging_face import CONFIG_FILE, special_token_names

_TEMPLATE_FILE, _OLD_TEMPLATE_FILE = "chat_template.jinja", "chat_template.json"
_MORE_TEMPLATES = "additional_chat_templates"


@dataclasses.dataclass(frozen=True)
class ChatTemplate:
    """How a model wants conversations written.

    Attributes:
      source: the Jinja program.
      special_tokens: what it may write by name, such as "bos_token".
    """

    source: str
    special_tokens: Mapping[str, str] = dataclasses.field(default_factory=dict)


def read_chat_template(directory: Path, name: str | None = None) -> ChatTemplate:
    """Returns a template of a model.

    It stands in `chat_template.jinja`, else in `tokenizer_config.json`, else, of processors, in
    `chat_template.json`. Further ones for other uses have names: in a list there, or as files of
    `additional_chat_templates`.

    Args:
      directory: with the tokenizer's files.
      name: of one of several; None: the one named "default".

    Raises:
      UserError: there is none, or none of that name.
    """
    found = _templates(directory)
    source = found.get(name or "default")
    if source is None and name is not None:
        known = f"has {', '.join(found)}." + nearest(name, found) if found else "has none"
        raise UserError(f"CHAT_TEMPLATE is {name!r}, but of chat templates {directory} {known}")
    if source is None and found:
        raise UserError(
            f"{directory} has several chat templates ({', '.join(found)}) and none named 'default':"
            f" set CHAT_TEMPLATE to one of them, or save the one to use as {_TEMPLATE_FILE}"
        )
    if source is None:
        raise UserError(
            f"{directory} has no chat template: expected {_TEMPLATE_FILE}, or chat_template in "
            f"{CONFIG_FILE}; a model without one was not trained on conversations"
        )
    return ChatTemplate(source, special_token_names(directory))


def _templates(directory: Path) -> dict[str, str]:
    """Returns the sources of all templates by name."""
    found: dict[str, str] = {}
    for path in (directory / CONFIG_FILE, directory / _OLD_TEMPLATE_FILE):
        listed = read_json_object(path).get("chat_template") if path.is_file() else None
        if listed is None or found:
            continue
        if isinstance(listed, str):
            listed = [{"name": "default", "template": listed}]
        if not isinstance(listed, list):
            raise UserError(
                f"{path}: chat_template is a {type(listed).__name__}, expected text or a list of "
                "objects with 'name' and 'template'"
            )
        entries = [entry for entry in listed if isinstance(entry, Mapping)]
        sources = {str(entry.get("name")): entry.get("template") for entry in entries}
        found = {name: source for name, source in sources.items() if isinstance(source, str)}
    files = {path.stem: path for path in sorted((directory / _MORE_TEMPLATES).glob("*.jinja"))}
    if (directory / _TEMPLATE_FILE).is_file():
        files["default"] = directory / _TEMPLATE_FILE
    for name, path in files.items():
        found[name] = read_text(path).removeprefix("\ufeff")
    return found


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
