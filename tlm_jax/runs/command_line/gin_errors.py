"""Turns what gin says about a faulty configuration into one line that names the remedy."""

from __future__ import annotations

import ast
import contextlib
import inspect
import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

import gin
from gin import config as gin_config

from tlm_jax.errors import UserError, nearest
from tlm_jax.runs.command_line import remedies, t5x_names
from tlm_jax.system.text_files import read_text

_MACRO = "gin.macro"
_REQUIRED = "gin.REQUIRED"


def read_files_as_utf8() -> None:
    """Lets gin read its files in UTF-8, whatever the locale; one that is none is named."""
    readers: list[Any] = gin_config._FILE_READERS
    readers[:] = [(_open_utf8, os.path.isfile)]


def look_for_files_in(directories: Sequence[str]) -> None:
    """Lets gin look for its files in these, in order, and no longer in those of an earlier call."""
    gin_config._LOCATION_PREFIXES[:] = ["", *directories]


def _open_utf8(path: str) -> TextIO:
    read_text(Path(path))  # for its errors; gin takes the name of what is opened for its own
    return open(path, encoding="utf-8")


@contextlib.contextmanager
def one_line() -> Iterator[None]:
    """Re-raises gin's exceptions as a `UserError` of one line."""
    try:
        yield
    except UserError as error:
        raise UserError(_first_line(error)) from None
    except Exception as error:
        raise UserError(_message(error)) from error


def parse_binding(binding: str, texts: Iterable[str]) -> None:
    """Parses one `NAME=VALUE` of the command line, which may name all that the files import.

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
                    f"--gin.{name}={value}: {value!r} is no Python value"
                    f"{remedies.for_binding(name, value)}"
                ) from None
    imports = [line for text in texts for line in re.findall(r"^(?:from|import) .*", text, re.M)]
    gin.parse_config("\n".join([*dict.fromkeys(imports), binding]))


def check_macros(texts: Iterable[str], bindings: Sequence[str]) -> None:
    """Checks that every macro that is set is used, and that every one used or required is set.

    Gin (and T5X) take a macro that nothing reads in silence, so a misspelled
    `--gin.TRAIN_STEP=5` would be ignored.

    Args:
      texts: the text of every gin file read.
      bindings: the command line's.

    Raises:
      UserError: names the macro and the nearest right name.
    """
    used = {name for text in (*texts, *bindings) for name in re.findall(r"%([\w./]+)", text)}
    used.discard(_REQUIRED)
    values = {
        scope: v["value"] for (scope, name), v in gin_config._CONFIG.items() if name == _MACRO
    }
    from_command_line = [binding.partition("=")[0].strip() for binding in bindings]
    for name in sorted(values.keys() - used, key=lambda n: (n not in from_command_line, n)):
        where = f"--gin.{name}" if name in from_command_line else f"macro {name}"
        hint = t5x_names.macro(name) or nearest(name, used)
        raise UserError(f"{where} is set but nothing uses it.{hint}")
    for name in sorted(used - values.keys()):
        raise UserError(f"macro %{name} is used but never set.{nearest(name, values)}")
    for name in sorted(values):
        if str(values[name]) == f"%{_REQUIRED}":
            raise UserError(f"{name} is required: set it in a gin file or with --gin.{name}=VALUE")


def check_read(texts: Iterable[str], bindings: Sequence[str]) -> None:
    """Checks, once all is built, that what was set on top of the defaults has been read.

    A macro may be used by what another include has replaced: LABEL_SMOOTHING by a loss that a
    teacher's has taken the place of. Defaults may go unread, values that override them may not.

    Args:
      texts: the text of every gin file read; a macro that two of them set is overridden.
      bindings: the command line's.

    Raises:
      UserError: names what is set, and what would read it.
    """
    texts = list(dict.fromkeys(texts))
    operative = gin_config._OPERATIVE_CONFIG
    read = {scope for scope, selector in operative if selector == _MACRO}
    set_by = [set(re.findall(r"^(\w+)\s*=", text, re.M)) for text in texts]
    overridden = {name for names in set_by for name in names if sum(name in n for n in set_by) > 1}
    for name in sorted(overridden - read):
        raise UserError(f"macro {name} is set but {_unread(name, texts)}")
    for binding in bindings:
        name = binding.partition("=")[0].strip()
        scope, _, selector = name.rpartition("/")
        owner, _, parameter = selector.rpartition(".")
        if not owner:
            if name not in read:
                raise UserError(f"--gin.{name} is set but {_unread(name, texts)}")
        elif not any(
            made.split(".")[-1] == owner.split(".")[-1]
            and f"{within}/".startswith(f"{scope}/" if scope else "")
            and parameter in values
            for (within, made), values in operative.items()
        ):
            raise UserError(
                f"--gin.{name} is set but this run is made without {owner}: leave it out, or "
                "choose what it belongs to"
            )


def _unread(macro: str, texts: Iterable[str]) -> str:
    """Returns the rest of a sentence: what the gin files give a macro to."""
    owners: dict[str, None] = {}
    for text in texts:
        block = ""
        for line in text.splitlines():
            if header := re.match(r"([\w./]+):\s*$", line):
                block = header[1]
            elif re.search(rf"%{re.escape(macro)}\b", line.partition("#")[0]):
                left = line.partition("=")[0].strip()
                owner = block if line.startswith(" ") else left.rpartition(".")[0] or left
                owners[owner] = None
    return (
        f"this run is made without what reads it ({', '.join(owners)}): leave it out, or choose "
        "what it belongs to"
    )


def texts_of(parsed: gin_config.ParsedConfigFileIncludesAndImports) -> Iterator[str]:
    """Yields the text of a parsed gin file and of those that it includes."""
    directories = ["", *gin_config._LOCATION_PREFIXES]
    for directory in directories:
        path = Path(directory, parsed.filename)
        if path.is_file():
            yield read_text(path)
            break
    for included in parsed.includes:
        yield from texts_of(included)


def _message(error: Exception) -> str:
    """Explains a gin exception in one line."""
    text = str(error)
    where = _where(text)
    if match := re.search(r"Configurable '([^']+)' doesn't have a parameter named '([^']+)'", text):
        selector, parameter = match.groups()
        hint = _parameter_hint(selector, parameter)
        return f"{where}{selector} has no parameter {parameter!r}.{hint}"
    if match := re.search(r"No configurable matching (?:reference )?'@?([\w./]+)", text):
        hint = t5x_names.binding(match[1]) or _configurable_hint(match[1])
        return f"{where}nothing is named {match[1]!r}.{hint}"
    if match := re.search(
        r"resolve selector ([\w.]+); <module '([\w.]+)'.* no attribute (\w+)", text
    ):
        known = [name for name in vars(sys.modules[match[2]]) if not name.startswith("_")]
        return f"{where}{match[2]} has no {match[3]!r}.{nearest(match[3], known)}"
    if "was not provided by an import statement" in text:
        named = re.search(r"line \d+\n\s*([\w./]+)", text)
        hint = t5x_names.binding(named[1]) if named else ""
        return f"{where}{_first_line(error)}{hint or _module_hint(text)}"
    if match := re.search(r"Unable to open file: (\S+)\. Searched", text):
        return (
            f"{where}no gin file {match[1]!r} in the current folder, the project, or the folders "
            "of --gin_search_paths"
        )
    if match := re.search(r"Failed to parse token '([^']+)'", text):
        constant = remedies.OTHER_NAMES.get(match[1])
        hint = f"write {constant}" if constant else "if it is a string, put it in quotes"
        return f"{where}{match[1]!r} is no Python value; {hint}"
    if isinstance(error, ImportError):
        return f"{where}{_first_line(error)}{_t5x_hint(error)}"
    if match := re.search(r"missing (?:a|\d+) required [\w\- ]*arguments?: (.*)", text):
        owner = re.search(r"In call to configurable '([^']+)'", text)
        name = owner[1] if owner else "the configuration"
        return f"{name} needs {match[1].strip()}: set it in a gin file"
    return f"{where}{_first_line(error)}"


def _module_hint(text: str) -> str:
    """Returns where a class lies that was named without its module; empty where that is unknown."""
    found = re.search(r"'(?:[\w.]+\.)?(\w+)' was not provided", text)
    places = [
        module
        for module in list(sys.modules.values())
        if found
        and module.__name__.startswith("tlm_jax.")
        and getattr(vars(module).get(found[1]), "__module__", None) == module.__name__
    ]
    if not found or len(places) != 1:
        return ""
    package, _, module = places[0].__name__.rpartition(".")
    return (
        f" It is in {module}: with `from {package} import {module}` in a gin file, write "
        f"@{module}.{found[1]}()"
    )


def _t5x_hint(error: ImportError) -> str:
    # Gin raises the error again with its own text, and the module's name is lost.
    if not re.search(r"No module named '(t5x|t5)\b", str(error)):
        return ""
    return (
        ": a gin file of T5X's names its own code; begin with gin_configs/runs/train.gin instead "
        "(docs/guide/from_t5x.md has T5X's names and ours)"
    )


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
    known = gin_config._REGISTRY._selector_map
    return nearest(name, [".".join(selector.split(".")[-2:]) for selector in known])
