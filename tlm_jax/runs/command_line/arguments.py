"""Argument parsers of the mains: one form of help, one wording of what is refused."""

from __future__ import annotations

import argparse
import ast
import re
import shlex
from collections.abc import Sequence
from typing import NoReturn

from tlm_jax.errors import UserError, nearest
from tlm_jax.runs.command_line import remedies, t5x_names

_SETTING = re.compile(r"([A-Z][A-Z0-9_]*)=(.*)", re.DOTALL)


class Parser(argparse.ArgumentParser):
    """An argument parser whose refusals are a `UserError` of one line.

    Attributes:
      examples: commands shown at the end of --help, without the leading `tlm`.
      takes_settings: whether NAME=VALUE and --gin.NAME=VALUE may follow.
    """

    def __init__(
        self,
        command: str,
        description: str,
        *,
        examples: Sequence[str] = (),
        takes_settings: bool = False,
        **options,
    ):
        shown = "\n".join(f"  tlm {example}" for example in examples)
        super().__init__(
            prog=f"tlm {command}",
            description=description,
            epilog=f"examples:\n{shown}" if examples else None,
            formatter_class=_HelpFormatter,
            allow_abbrev=False,
            **options,
        )
        self.takes_settings = takes_settings

    def error(self, message: str) -> NoReturn:
        """Refuses the command line. argparse's own way is several lines and exit status 2.

        Raises:
          UserError: always.
        """
        raise UserError(f"{message}. Try {self.prog} --help.")

    def flags(self) -> list[str]:
        """Returns the names of all flags."""
        return [flag for action in self._actions for flag in action.option_strings]

    def parse(self, argv: Sequence[str]) -> argparse.Namespace:
        """Returns the parsed arguments.

        Raises:
          UserError: an argument is unknown, missing, or cannot be read.
        """
        known, unknown = self.parse_known_args(list(argv))
        if unknown:
            self.refuse(unknown[0])
        return known

    def refuse(self, argument: str) -> NoReturn:
        """Says that `argument` is unknown, and which flag comes nearest.

        Raises:
          UserError: always.
        """
        name = argument.partition("=")[0]
        hint = t5x_names.flag(name) or nearest(name, self.flags())
        raise UserError(f"unknown argument {argument!r}.{hint} Try {self.prog} --help.")


class _HelpFormatter(argparse.HelpFormatter):
    """Fills the description, and leaves the examples as they are written."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        if text.startswith("examples:\n"):
            return text
        return super()._fill_text(text, width, indent)


def configured_parser(
    command: str,
    description: str,
    *,
    examples: Sequence[str] = (),
    default_file: str | None = None,
) -> Parser:
    """Returns the parser of a main that is configured by gin files.

    Args:
      command: its name after `tlm`.
      description: what it does, in a sentence or two.
      examples: commands shown at the end of --help, without the leading `tlm`.
      default_file: the gin file read where the command line names none.
    """
    instead = f" (default: {default_file})" if default_file else ""
    parser = Parser(
        command,
        f"{description} NAME=VALUE sets a macro of the gin files, and its texts need no quotes: "
        "MODEL_DIR=runs/a. --gin.NAME=VALUE sets any gin binding as T5X does, and there texts keep "
        "their quotes: --gin.run.RunConfig.seed=1, --gin.MODEL_DIR='\"runs/a\"'.",
        examples=examples,
        takes_settings=True,
    )
    parser.add_argument(
        "--gin_file",
        action="append",
        default=[],
        metavar="FILE",
        help=f"configuration file; may be given several times, later files win{instead}",
    )
    parser.add_argument(
        "--gin_search_paths",
        default="",
        metavar="A,B",
        help="folders in which gin files are looked up, after the current one and before those "
        "that come with tlm_jax",
    )
    parser.add_argument(
        "--dry_run",
        action="store_true",
        help="print the configuration with everything filled in, and stop",
    )
    parser.set_defaults(default_file=default_file)
    return parser


def parse_settings(parser: Parser, argv: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Splits `argv` into parsed flags and gin bindings (`NAME=VALUE` strings).

    Raises:
      UserError: for an argument that is neither a known flag nor a setting.
    """
    known, rest = parser.parse_known_args([_as_binding(argument) for argument in argv])
    bindings = []
    for argument in rest:
        if re.match(r"--gin\.[^=\s]", argument) and "=" in argument:
            bindings.append(argument.removeprefix("--gin."))
        elif argument.startswith("--gin."):
            raise UserError(f"{argument}: expected --gin.NAME=VALUE")
        else:
            parser.refuse(argument)
    if not known.gin_file and known.default_file:
        known.gin_file = [known.default_file]
    return known, bindings


def _as_binding(argument: str) -> str:
    """Returns `NAME=VALUE` as a gin flag; what is no Python literal is text. Others stay.

    Raises:
      UserError: the value is in quotes, and no Python literal for what is between them.
    """
    found = _SETTING.fullmatch(argument)
    if found is None:
        return argument
    name, value = found.groups()
    if value.startswith(("@", "%")):
        return f"--gin.{name}={value}"
    try:
        read = ast.literal_eval(value)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        _refuse_quotes(name, value)
        read = value
    # Gin has no sets and bytes, and a tuple only in brackets.
    if isinstance(read, tuple):
        value = repr(read)
    elif read is value or not isinstance(read, (str, int, float, list, dict, type(None))):
        value = repr(value)
    return f"--gin.{name}={value}"


def _refuse_quotes(name: str, value: str) -> None:
    """Refuses quotes around a text that make it no Python text: they would become part of it."""
    quote, within = value[:1], value[1:-1]
    straight = remedies.straightened(value)
    if straight != value and re.fullmatch("'[^'\"]+'|\"[^'\"]+\"", straight):
        raise UserError(
            f"{name}={value}: its quotes are those of printed text and would become part of it; "
            f"leave them out: {shlex.quote(f'{name}={within}')}"
        )
    if quote in ("'", '"') and value[-1:] == quote and within and quote not in within:
        raise UserError(
            f"{name}={value}: what is in quotes is read as Python does, where a backslash is "
            f"written twice; leave out the inner quotes: {shlex.quote(f'{name}={within}')}"
        )
