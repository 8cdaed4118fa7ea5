"""Opening official files, and errors that name the place: shared by their readers."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tlm_jax.data.records import LETTERS
from tlm_jax.data.text_lines import open_text
from tlm_jax.errors import UserError


def read_json(path: Path, expected: type) -> Any:
    """Returns the one JSON value of a file, of the expected type."""
    try:
        value = json.loads(read_text(path))
    except ValueError as error:
        raise UserError(f"{path}: not valid JSON ({error}).") from None
    if not isinstance(value, expected):
        got = type(value).__name__
        raise UserError(f"{path}: expected a JSON {expected.__name__}, got {got}.")
    return value


def read_table(path: Path, delimiter: str = ",") -> Iterator[tuple[str, dict[str, str]]]:
    """Yields (place, row) of a table with a header line."""
    rows = csv.DictReader(io.StringIO(read_text(path), newline=""), delimiter=delimiter)
    for row in rows:
        where = f"{path}:{rows.line_num}"
        # DictReader puts surplus cells under the key None, and None into missing cells.
        if None in row or None in row.values():
            raise UserError(f"{where}: this row has not the {len(rows.fieldnames or ())} columns.")
        yield where, row


def files_of(path: Path, pattern: str) -> list[Path]:
    """Returns the files of a folder that match, sorted; of a path that is a file, that file."""
    files = sorted(path.glob(pattern)) if path.is_dir() else [path]
    if not files:
        raise UserError(f"{path}: no {pattern.removeprefix('**/')} files in this folder.")
    return files


def read_text(path: Path) -> str:
    """Returns the text of a UTF-8 file, compressed or not; a byte order mark is dropped."""
    try:
        with open_text(path, newline="") as text:
            return text.read()
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error}).") from None


def field(row: Mapping[str, Any], name: str, where: str) -> Any:
    """Returns a field of a row; a missing or null one is a UserError that names the place."""
    if not isinstance(row, Mapping):
        raise UserError(f"{where}: expected an object, got {type(row).__name__}.")
    if row.get(name) is None:
        raise UserError(f"{where}: the field {name!r} is missing; there is {', '.join(row)}.")
    return row[name]


def letter_of(answer: str, options: Sequence[str] | None, where: str) -> str:
    """Returns the letter of the option that reads as the answer."""
    if options is None or answer not in options:
        raise UserError(f"{where}: the answer {answer!r} is none of the options {options!r}.")
    return LETTERS[options.index(answer)]


@contextmanager
def wrap(where: str) -> Iterator[None]:
    """Puts the place in front of a UserError from inside."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
