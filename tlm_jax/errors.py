"""The error that a user can cause, and the hint at what was meant; imports nothing heavy."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Something the user can mend; mains print the message as one line and exit with 1.

    The message says what is wrong, where, what was expected, and the remedy.
    """


def system_reason(error: OSError) -> str:
    """Returns in one line what the system says; libraries raise OSErrors without `strerror`."""
    return error.strerror or (str(error).strip() or type(error).__name__).splitlines()[0]


def nearest(name: str, known: Iterable[str]) -> str:
    """Returns ' Did you mean X?' for the known name closest to `name`, or an empty string."""
    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" Did you mean {matches[0]!r}?" if matches else ""
