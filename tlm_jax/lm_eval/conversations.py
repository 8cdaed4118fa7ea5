"""Conversations as a model's template writes them, with answers begun by the task."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from tlm_jax.data.chat import ChatTemplate, render_chat
from tlm_jax.errors import UserError

_log = logging.getLogger("lm_eval.tlm_jax")

Messages = Sequence[dict[str, str]]


def write_conversation(
    messages: Messages, template: ChatTemplate, *, add_generation_prompt: bool
) -> str:
    """Returns the conversation as text up to where the model goes on.

    Args:
      messages: each with "role" and "content".
      template: of the model.
      add_generation_prompt: whether the model's answer begins; else it goes on with the last
        message, which is its own and was begun by the task.

    Raises:
      UserError: the template refuses the messages even without their system message.
    """
    try:
        return _write(messages, template, add_generation_prompt)
    except UserError as error:
        kept = [message for message in messages if message["role"] != "system"]
        if len(kept) == len(messages):
            raise
        _log.warning("%s; the system message is left out, as other models of lm_eval do", error)
        return _write(kept, template, add_generation_prompt)


def _write(messages: Messages, template: ChatTemplate, add_generation_prompt: bool) -> str:
    text = render_chat(messages, template, add_generation_prompt=add_generation_prompt)
    if add_generation_prompt:
        return text
    begun = messages[-1]["content"]
    # Templates may strip what they are given.
    for written in (begun, begun.strip()):
        place = text.rfind(written)
        if place >= 0:
            return text[: place + len(written)]
    raise UserError(f"the chat template changes the begun answer {begun!r}: it cannot be gone on")
