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

from tlm_jax.errors import UserError
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


def read_chat_template(directory: Path) -> ChatTemplate:
    """Returns the template of a model.

    It stands in `chat_template.jinja`, else in `tokenizer_config.json`, else, of processors, in
    `chat_template.json`. Of several for different uses the one named "default" is taken.

    Raises:
      UserError: there is none, or none of that name.
    """
    config_path, template_path = directory / CONFIG_FILE, directory / _TEMPLATE_FILE
    old_path = directory / _OLD_TEMPLATE_FILE
    source = None
    if template_path.is_file():
        source = read_text(template_path).removeprefix("\ufeff")
    for path in (config_path, old_path):
        if source is None and path.is_file():
            source = read_json_object(path).get("chat_template")
            config_path = path if source is not None else config_path
    names = [path.stem for path in sorted((directory / _MORE_TEMPLATES).glob("*.jinja"))]
    if isinstance(source, list):
        # Several for different uses, such as with tools.
        entries = [entry for entry in source if isinstance(entry, Mapping)]
        listed = {str(entry.get("name")): entry.get("template") for entry in entries}
        names, source = [*listed, *names], listed.get("default")
    if not isinstance(source, str | None):
        raise UserError(
            f"{config_path}: chat_template is a {type(source).__name__}, expected text or a list "
            "of objects with 'name' and 'template'"
        )
    if source is None and names:
        raise UserError(
            f"{directory} has several chat templates ({', '.join(names)}) and none named 'default':"
            f" save the one to use as {_TEMPLATE_FILE}"
        )
    if source is None:
        raise UserError(
            f"{directory} has no chat template: expected {_TEMPLATE_FILE}, or chat_template in "
            f"{CONFIG_FILE}; a model without one was not trained on conversations"
        )
    return ChatTemplate(source, special_token_names(directory))


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
