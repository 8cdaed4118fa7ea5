"""Paths that begin with `~`, and the folder of what can be made again."""

from __future__ import annotations

import os
from pathlib import Path

from tlm_jax.errors import UserError


def expanded(path: str | os.PathLike[str]) -> Path:
    """Returns a path with `~` or `~NAME` replaced by the home directory.

    Raises:
      UserError: nobody knows which that is; or the path is empty, which Python takes for `.`.
    """
    if not os.fspath(path):
        raise UserError(
            "a path is empty: a setting that names a file or folder has nothing behind its '=' "
            "(a variable of the shell that is not set?); '.' is the current folder"
        )
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise UserError(
            f"{path}: the home directory of {Path(path).parts[0]!r} is not known; write the path "
            "without it, or set HOME"
        ) from None


def cache_folder(name: str) -> Path | None:
    """Returns the folder for what can be made again; None where the user has none.

    Args:
      name: of the folder, below `$XDG_CACHE_HOME/tlm_jax`, by default `~/.cache/tlm_jax`.
    """
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    # Without a home the "~" stays.
    return None if base.startswith("~") else Path(base, "tlm_jax", name)
