"""Remedies for values of settings: what to write instead of one that is none, or another kind."""

from __future__ import annotations

import ast
import json
import re
import shlex
from collections.abc import Callable, Iterable, Iterator
from typing import Any

OTHER_NAMES = {"true": "True", "false": "False", "null": "None", "none": "None"}
"""How other languages write Python's constants."""

_SWITCHES = {"yes": "True", "on": "True", "no": "False", "off": "False"}
"""Words for a switch, which may as well be meant as texts."""

_QUOTES = dict.fromkeys(map(ord, "“”„‟«»"), '"') | dict.fromkeys(map(ord, "‘’‚‛‹›"), "'")
"""Quotes of typesetting, which editors and pages put where a program wants straight ones."""


def for_value(value: Any, is_right: Callable[[Any], bool], kinds: Iterable[type] = ()) -> str:
    """Returns how a value of another type is written as the one expected, if that can be told.

    Args:
      value: as it was read; what is no Python value on the command line is a text.
      is_right: whether a value is of the type expected.
      kinds: the classes of which one is expected.
    """
    for kind in kinds:
        if value is kind or (isinstance(value, str) and value.strip("@()") == kind.__name__):
            return f"; write @MODULE.{kind.__name__}(), as the gin files do (in a shell, in quotes)"
    for text in _candidates(value):
        if _is_literal(text) and is_right(ast.literal_eval(text)):
            return f"; write {text}" + (" (in a shell, quotes around it)" if '"' in text else "")
    return ""


def _candidates(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield (OTHER_NAMES | _SWITCHES).get(value.lower(), value)
        yield value.lstrip("0")
        yield _with_quotes(value) if value[:1] in ("[", "(", "{") else value
        yield json.dumps([part.strip() for part in value.split(",")], ensure_ascii=False)
    elif isinstance(value, float) and value.is_integer():
        yield str(int(value))
    elif isinstance(value, (int, float)):
        yield f'"{value}"'


def for_binding(name: str, value: str) -> str:
    """Returns what to write instead, if anything near the value is right; it has been tried."""
    if constant := OTHER_NAMES.get(value.lower()):
        return f"; write --gin.{name}={constant}"
    if constant := _SWITCHES.get(value.lower()):
        return f"""; write --gin.{name}={constant}, or as a text --gin.{name}='"{value}"'"""
    if re.fullmatch("0[0-9]+", value):
        return f"; write --gin.{name}={value.lstrip('0')}"
    straight = straightened(value)
    if straight != value and _is_literal(straight):
        return f"; its quotes have to be straight ones: --gin.{name}={shlex.quote(straight)}"
    if value[:1] in ("'", '"'):
        meant = _escaped(value)
        why = "a backslash in a text is written twice"
    elif value[:1] in ("[", "(", "{"):
        meant = _with_quotes(value)
        why = "texts within it keep their quotes"
    else:
        plain = (f'"{value}"', f'"{_escaped(value)}"', repr(value))
        meant, why = next(filter(_is_literal, plain)), "a string keeps its quotes"
    if not _is_literal(meant):
        return "; texts are in quotes, lists in [], and a dict is {'name': value}"
    quoted = f"'{meant}'" if "'" not in meant else shlex.quote(meant)
    return f"; {why}: --gin.{name}={quoted}"


def straightened(text: str) -> str:
    """Returns a text with the quotes of typesetting replaced by those of programs."""
    return text.translate(_QUOTES)


def _is_literal(text: str) -> bool:
    try:
        ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return False
    return True


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\")


def _with_quotes(value: str) -> str:
    """Returns a list or dict with quotes around words that are no Python values."""

    def quoted(match: re.Match[str]) -> str:
        found = match[0].strip()
        if found[0] in "'\"" or _is_literal(found):
            return match[0]
        text = OTHER_NAMES.get(found) or json.dumps(found, ensure_ascii=False)
        return match[0].replace(found, text, 1)

    return re.sub(r"'[^']*'|\"[^\"]*\"|[^\[\](){},:'\"]*[^\[\](){},:'\"\s]", quoted, value)
