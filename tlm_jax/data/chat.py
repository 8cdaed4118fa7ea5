"""Writes a conversation as the text that a chat model was trained on, by the model's own template.

A template is a Jinja program that comes with a model, so it runs in Jinja's sandbox: it can read
what it is given and nothing else. Everything here is as in transformers' `apply_chat_template`.
"""

from __future__ import annotations

import dataclasses
import datetime
import functools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from tlm_jax.errors import UserError

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
    config: dict[str, Any] = {}
    if config_path.is_file():
        try:
            config = json.loads(config_path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise UserError(f"{config_path} is not JSON: {error}") from None
    source = config.get("chat_template")
    if isinstance(source, list):
        # Several for different uses, such as with tools.
        source = {entry["name"]: entry["template"] for entry in source}.get("default")
    if template_path.is_file():
        source = template_path.read_text(encoding="utf-8")
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
      UserError: the template is damaged, or refuses these messages.
    """
    import jinja2

    if isinstance(template, str):
        template = ChatTemplate(template)
    try:
        return _compiled(template.source).render(
            messages=[dict(message) for message in messages],
            add_generation_prompt=add_generation_prompt,
            **template.special_tokens,
        )
    except jinja2.TemplateSyntaxError as error:
        raise UserError(f"the chat template is damaged: line {error.lineno}: {error}") from None
    except jinja2.TemplateError as error:
        raise UserError(f"the chat template refuses these messages: {error}") from None
    except (TypeError, ValueError) as error:
        raise UserError(f"the chat template fails on these messages: {error}") from None


@functools.lru_cache(maxsize=16)
def _compiled(source: str) -> Any:
    import jinja2.ext
    import jinja2.sandbox

    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[jinja2.ext.loopcontrols]
    )
    environment.filters["tojson"] = functools.partial(json.dumps, ensure_ascii=False)
    environment.globals["raise_exception"] = _raise
    environment.globals["strftime_now"] = _strftime_now
    return environment.from_string(source)


def _raise(message: str) -> NoReturn:
    import jinja2

    raise jinja2.TemplateError(message)


def _strftime_now(form: str) -> str:
    return datetime.datetime.now().strftime(form)


def _text(token: Any) -> str | None:
    """Returns a token that is given as text, or with how it is found in text."""
    if isinstance(token, Mapping):
        token = token.get("content")
    return token if isinstance(token, str) else None
