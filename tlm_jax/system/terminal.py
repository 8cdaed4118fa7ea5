"""Output on a terminal: tables as wide as it is, and texts of others shown rather than obeyed."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

_ANY_LINE = 1000


def console(width: int | None = None, *, piped_width: int = _ANY_LINE) -> Console:
    """Returns a console on standard output; rich itself honours NO_COLOR.

    Args:
      width: in columns; None is the terminal's.
      piped_width: where there is no terminal, and so no width; enough for any line of a table by
        default, less for what is filled up to the width.
    """
    from rich.console import Console

    if width is None and not sys.stdout.isatty():
        width = piped_width
    return Console(width=width, highlight=False)


def printable(text: str, *, keep: str = "") -> str:
    r"""Returns a text without what a terminal would obey or could not encode.

    Escape sequences, controls and halves of surrogate pairs become `\x1b` and its like.

    Args:
      text: of a server's or a model's.
      keep: characters that are left as they are, such as a line feed.
    """
    return "".join(c if c.isprintable() or c in keep else repr(c)[1:-1] for c in text)
