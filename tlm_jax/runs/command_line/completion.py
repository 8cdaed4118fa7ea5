"""Completion scripts for shells, written by shtab from the parsers of all mains."""

from __future__ import annotations

import importlib
from collections.abc import Mapping

from tlm_jax.errors import UserError
from tlm_jax.runs.command_line.arguments import Parser

SHELLS = ("bash", "zsh")


def script(shell: str, commands: Mapping[str, str]) -> str:
    """Returns the completion script of `tlm` for a shell.

    Args:
      shell: one of `SHELLS`.
      commands: what each command of `tlm` does; `tlm_jax.NAME.parser()` is its parser, if it has
        one of ours.

    Raises:
      UserError: shtab is not installed.
    """
    try:
        import shtab  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise UserError("completion needs shtab: pip install 'tlm_jax[completion]'") from error
    whole = Parser("", "", add_help=True)
    whole.prog = "tlm"
    subparsers = whole.add_subparsers(parser_class=_Command)
    for name, summary in commands.items():
        found = getattr(importlib.import_module(f"tlm_jax.{name}"), "parser", None)
        subparsers.add_parser(
            name, help=summary, parents=[] if found is None else [found()], add_help=found is None
        )
    return shtab.complete(whole, shell)


class _Command(Parser):
    """A sub-parser; argparse makes it with its own arguments."""

    def __init__(self, **options):
        options.pop("prog", None)
        super().__init__("", "", **options)
