"""Where data files are: one directory and one file of examples, named by the run."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from tlm_jax.errors import UserError

ENVIRONMENT_VARIABLE = "TLM_JAX_DATA_DIR"


def set_data_dir(path: str | os.PathLike[str] | None) -> None:
    """Sets the directory of data files; None: back to the environment variable."""
    global _data_dir
    _data_dir = None if path is None else Path(path).expanduser()


def data_dir() -> Path | None:
    """Returns the directory of data files, or None where nobody has named one."""
    if _data_dir is not None:
        return _data_dir
    named = os.environ.get(ENVIRONMENT_VARIABLE)
    return Path(named).expanduser() if named else None


def set_examples_file(path: str | os.PathLike[str] | None) -> None:
    """Sets the file that the `examples` tasks read; None: none."""
    global _examples_file
    _examples_file = None if path is None else Path(path).expanduser()


def examples_file() -> Path:
    """Returns the file that the `examples` tasks read.

    Raises:
      UserError: nobody has named one.
    """
    if _examples_file is None:
        raise UserError(
            "the `examples` tasks read a file of records and none is named: set EXAMPLES_FILE, "
            "such as the examples.jsonl that `python -m tlm_jax.cache_teacher` writes."
        )
    return _examples_file


def places() -> tuple[Path | None, Path | None]:
    """Returns what decides which files are read, for those who keep what they have read."""
    return data_dir(), _examples_file


def find_file(wanted_by: str, names: Sequence[str], origin: str) -> tuple[str, Path]:
    """Returns the first of `names` that exists in the data directory, and its path.

    Each name is looked for as it is and with '.gz' behind it.

    Args:
      wanted_by: what needs the file, such as 'gsm8k, split train'.
      names: accepted paths relative to the data directory, in order of preference.
      origin: where to get the file, for the error.

    Raises:
      UserError: no directory is named, or none of the files is in it.
    """
    directory = data_dir()
    remedy = f"Wanted: {' or '.join(names)}. To get it: {origin}."
    if directory is None:
        raise UserError(
            f"{wanted_by}: no data directory is named. Set DATA_DIR in gin or "
            f"{ENVIRONMENT_VARIABLE} in the environment. {remedy}"
        )
    if not directory.is_dir():
        raise UserError(f"{wanted_by}: the data directory {directory} does not exist. {remedy}")
    for name in names:
        for path in (directory / name, directory / f"{name}.gz"):
            if path.exists():
                return name, path
    raise UserError(f"{wanted_by}: no such file in {directory}. {remedy}")


_data_dir: Path | None = None
_examples_file: Path | None = None
