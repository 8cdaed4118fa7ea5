"""Reads small text files that a person may have written or damaged: errors name the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tlm_jax.errors import UserError, system_reason
from tlm_jax.system import git_lfs


def read_text(path: Path) -> str:
    """Returns the content of a file in UTF-8.

    Raises:
      UserError: it cannot be read, is not UTF-8, or is a pointer of Git LFS.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {system_reason(error)}") from error
    return _text(content, str(path))


def read_json_object(path: Path) -> dict[str, Any]:
    """Returns the JSON object that a file holds.

    Raises:
      UserError: it cannot be read, or holds anything else.
    """
    return _json_object(read_text(path), str(path))


def json_object(content: bytes, where: str) -> dict[str, Any]:
    """Returns the JSON object in the content of a file.

    Raises:
      UserError: it holds anything else.
    """
    return _json_object(_text(content, where), where)


def _text(content: bytes, where: str) -> str:
    git_lfs.refuse_pointer(content, where)
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{where} is not UTF-8 (byte {error.start}: 0x{error.object[error.start]:02x}); save "
            "it as UTF-8, or copy it anew"
        ) from None


def _json_object(text: str, where: str) -> dict[str, Any]:
    if text.startswith("\ufeff"):
        raise UserError(
            f"{where} is not JSON: it begins with a byte-order mark; save it as UTF-8 without one"
        )
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where} is not JSON: {error}") from None
    if not isinstance(content, dict):
        raise UserError(f"{where} is not a JSON object but a {type(content).__name__}")
    return content
