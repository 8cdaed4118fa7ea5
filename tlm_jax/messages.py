"""The text of a chat message, whose content is text or a list of parts."""

from __future__ import annotations

from collections.abc import Container
from typing import Any


def text_of_content(content: Any, *, without: Container[str] = ()) -> str | None:
    """Returns the text of a message's `content`; None where it holds anything but text.

    Parts of a list are objects such as `{"type": "text", "text": "Hello"}`, and are joined.

    Args:
      content: of a message, as JSON has it.
      without: types of parts that are passed over, such as "thinking".
    """
    if isinstance(content, str):
        return content
    if not isinstance(content, list) or not all(isinstance(part, dict) for part in content):
        return None
    texts: list[str] = []
    for part in content:
        if str(part.get("type")) in without:
            continue
        if part.get("type") != "text" or not isinstance(part.get("text"), str):
            return None
        texts.append(part["text"])
    return "".join(texts) if texts else None
