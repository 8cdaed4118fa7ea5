"""Turns what gin says about a faulty configuration into one line that names the remedy."""

from __future__ import annotations

import ast
import contextlib
import difflib
import inspect
import re
from collections.abc import Iterator, Sequence
from typing import Any

import gin
from gin import config as gin_config

from tlm_jax.types import UserError, nearest

_MACRO = "gin.macro"


@contextlib.contextmanager
def one_line() -> Iterator[None]:
    """Re-raises gin's exceptions as a `UserError` of one line."""
    try:
        yield
    except UserError as error:
        raise UserError(_first_line(error)) from None
    except Exception as error:
        raise UserError(_message(error)) from error


def parse_binding(binding: str) -> None:
    """Parses one `NAME=VALUE` of the command line.

    Raises:
      UserError: when the value is no Python literal, reference or macro; a bare word is most often
        a string whose quotes the shell took away.
    """
    name, _, value = binding.partition("=")
    value = value.strip()
    if not value.startswith(("@", "%")):
        try:
            ast.literal_eval(value)
        except (ValueError, SyntaxError):
            if not re.search(r"[@%]", value):
                raise UserError(
                    f"--gin.{name}={value}: {value!r} is no Python value; a string keeps its "
                    f"quotes: --gin.{name}='\"{value}\"'"
                ) from None
    gin.parse_config(binding)


def check_macros(bindings: Sequence[str]) -> None:
    """Checks that every macro that is set is used, and that every one used or required is set.

    Gin (and T5X) take a macro that nothing reads in silence, so a misspelled
    `--gin.TRAIN_STEP=5` would be ignored.

    Raises:
      UserError: names the macro and the nearest right name.
    """
    defined = {scope for scope, name in gin_config._CONFIG if name == _MACRO}
    used: set[str] = set()
    for values in gin_config._CONFIG.values():
        for value in values.values():
            used.update(_macros_in(value))
    from_command_line = [binding.partition("=")[0] for binding in bindings]
    for name in sorted(defined - used, key=lambda n: n not in from_command_line):
        where = f"--gin.{name}" if name in from_command_line else f"macro {name}"
        raise UserError(f"{where} is set but nothing uses it.{nearest(name, used)}")
    for name in sorted(used - defined):
        raise UserError(f"macro %{name} is used but never set.{nearest(name, defined)}")
    for name in sorted(defined):
        value = gin_config._CONFIG[(name, _MACRO)].get("value")
        if value is gin.REQUIRED or _macros_in(value) == {"gin.REQUIRED"}:
            raise UserError(f"{name} is required: set it in a gin file or with --gin.{name}=VALUE")


def _macros_in(value: Any) -> set[str]:
    """Returns the names of the macros that a gin value refers to."""
    if isinstance(value, gin_config.ConfigurableReference):
        scoped = value.scoped_configurable_name if hasattr(value, "scoped_configurable_name") else ""
        name = str(value)
        if name.startswith("%"):
            return {name[1:]}
        return {scoped} if scoped.endswith(_MACRO) else set()
    if isinstance(value, dict):
        return set().union(*(_macros_in(v) for pair in value.items() for v in pair))
    if isinstance(value, list | tuple | set):
        return set().union(*(_macros_in(v) for v in value))
    return set()


def _message(error: Exception) -> str:
    """Explains a gin exception in one line."""
    text = str(error)
    where = _where(text)
    if match := re.search(r"Configurable '([^']+)' doesn't have a parameter named '([^']+)'", text):
        selector, parameter = match.groups()
        return f"{where}{selector} has no parameter {parameter!r}.{_parameter_hint(selector, parameter)}"
    if match := re.search(r"No configurable matching '([^']+)'", text):
        return f"{where}nothing is named {match[1]!r}.{_configurable_hint(match[1])}"
    if match := re.search(r"Unable to open file: (\S+?)\.? Searched config paths: (.*?)\.\s", text):
        return f"{where}no gin file {match[1]!r} in the current folder, the project, or --gin_search_paths"
    if match := re.search(r"Failed to parse token '([^']+)'", text):
        return f"{where}{match[1]!r} is no Python value; if it is a string, put it in quotes"
    if isinstance(error, ImportError):
        return f"{where}{_first_line(error)}"
    if match := re.search(r"missing \d+ required (?:positional |keyword-only )?arguments?: (.*)", text):
        owner = re.search(r"In call to configurable '([^']+)'", text)
        return f"{owner[1] if owner else 'configuration'} needs {match[1].strip()}: set it in a gin file"
    return f"{where}{_first_line(error)}"


def _where(text: str) -> str:
    """Returns 'FILE line N (`the line`): ' from gin's own annotation, or an empty string."""
    match = re.search(r'In (?:file "([^"]+)"|bindings string), line (\d+)\n\s*(.*)', text)
    match = match or re.search(r'In (?:file "([^"]+)"|bindings string) line (\d+)\n\s*(.*)', text)
    if not match:
        match = re.search(r"\((?:file |)\"?([^\"(]*?)\"?,? ?line (\d+)\)()", text)
    if not match:
        return ""
    file, line, content = match.groups()
    quoted = f" ({content.strip()})" if content.strip() else ""
    return f"{file} line {line}{quoted}: " if file else f"command line{quoted}: "


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _parameter_hint(selector: str, parameter: str) -> str:
    found = gin_config._REGISTRY.get_all_matches(selector)
    known = inspect.signature(found[0].wrapped).parameters if found else ()
    return nearest(parameter, known) or f" Known: {', '.join(known)}."


def _configurable_hint(name: str) -> str:
    known = [str(selector) for selector in gin_config._REGISTRY]
    short = {".".join(selector.split(".")[-2:]): selector for selector in known}
    close = difflib.get_close_matches(name, short, n=1, cutoff=0.6)
    return f" Did you mean {close[0]!r}?" if close else ""
