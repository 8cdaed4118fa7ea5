"""Paths that begin with `~`."""

from __future__ import annotations

import os
from pathlib import Path

from tlm_jax.errors import UserError


def expanded(path: str | os.PathLike[str]) -> Path:
    """Returns a path with `~` or `~NAME` replaced by the home directory.

    Raises:
      UserError: nobody knows which that is.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise UserError(
            f"{path}: the home directory of {Path(path).parts[0]!r} is not known; write the path "
            "without it, or set HOME"
        ) from None
