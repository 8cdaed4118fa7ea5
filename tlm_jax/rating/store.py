"""Ratings on disk: each one appended and synced at once, so that a kill loses none."""

from __future__ import annotations

import datetime
import fcntl
import json
import os
import unicodedata
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from tlm_jax.data.text_lines import numbered_lines
from tlm_jax.errors import UserError, system_reason
from tlm_jax.rating.items import Item
from tlm_jax.rating.scales import SCALES, Scale

Kind = Literal["person", "model"]

LONGEST_NAME = 100

_FIELDS = {name: scale for scale in SCALES.values() for name in scale.fields}


class Rating(NamedTuple):
    """What one rater says of one item.

    Attributes:
      key: of the item.
      rater: the name.
      kind: a person or a model.
      values: by field; a field that is not there is not rated yet.
    """

    key: str
    rater: str
    kind: Kind
    values: Mapping[str, Any]


def rater_name(name: object) -> str:
    """Returns a name in one spelling: no spaces around it, one between words.

    Raises:
      UserError: it is no name.
    """
    text = " ".join(unicodedata.normalize("NFC", name).split()) if isinstance(name, str) else ""
    if not text or len(text) > LONGEST_NAME or not text.isprintable():
        raise UserError(f"a rater's name has 1 to {LONGEST_NAME} letters, all of them printable")
    return text


def read_ratings(path: Path) -> list[Rating]:
    """Returns the ratings of a file, the last of each rater and item; none where there is no file.

    A last line that a kill has torn is passed over.

    Raises:
      UserError: another line is no rating, or the file cannot be read.
    """
    if not path.exists():
        return []
    found: dict[tuple[str, str, Kind], dict[str, Any]] = {}
    try:
        torn = _is_torn(path)
        lines = list(numbered_lines(path))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read: {error}") from None
    for number, line in lines[: len(lines) - torn]:
        try:
            row = json.loads(line)
            key, rater, kind = row["item"], row["rater"], row["kind"]
            values = {name: row[name] for name in _FIELDS if row.get(name) is not None}
            refusals = [_FIELDS[name].refusal(name, value) for name, value in values.items()]
            right = all(isinstance(text, str) for text in (key, rater))
            if not right or kind not in ("person", "model") or any(refusals):
                raise ValueError(next(filter(None, refusals), "a field is wrong"))
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise UserError(
                f"{path}:{number} is no rating ({error}); mend that line, or delete it"
            ) from None
        found.setdefault((key, rater, kind), {}).update(values)
    return [Rating(*names, values) for names, values in found.items()]


def _is_torn(path: Path) -> bool:
    with path.open("rb") as file:
        if not file.seek(0, os.SEEK_END):
            return False
        file.seek(-1, os.SEEK_END)
        return file.read(1) != b"\n"


class RatingStore:
    """The ratings of one kind of raters, open to be added to. A context manager.

    Rows have `id`, `source`, `rater`, `kind`, the fields of the scale, `item` and `time`; the last
    row of a rater and item counts.
    """

    def __init__(self, path: Path, scale: Scale, kind: Kind):
        """Opens the file for this process alone; cuts off a line that a kill has torn.

        Raises:
          UserError: it cannot be written, another process writes it, or it holds what is no rating.
        """
        self._path, self._scale, self._kind = path, scale, kind
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        except OSError as error:
            raise UserError(f"{path} cannot be written: {system_reason(error)}") from error
        try:
            self._length = self._cut()
            found = (r for r in read_ratings(path) if r.kind == kind)
            self._values = {(r.rater, r.key): dict(r.values) for r in found}
        except BaseException:
            os.close(self._file)
            raise

    def __enter__(self) -> RatingStore:
        return self

    def __exit__(self, *unused: object) -> None:
        os.close(self._file)

    def known_as(self, name: str) -> str:
        """Returns how a rater has written this name before: "ann" is the Ann of yesterday."""
        raters: Iterable[str] = (rater for rater, _ in self._values)
        return next((rater for rater in raters if rater.casefold() == name.casefold()), name)

    def values(self, rater: str, item: Item) -> dict[str, Any]:
        """Returns what a rater has said of an item, by the fields of the scale."""
        found = self._values.get((rater, item.key), {})
        return {name: found[name] for name in self._scale.fields if name in found}

    def is_complete(self, rater: str, item: Item) -> bool:
        """Whether a rater has rated all fields of an item."""
        return self._scale.is_complete(self.values(rater, item))

    def add(self, rater: str, item: Item, values: Mapping[str, Any]) -> dict[str, Any]:
        """Adds to, or changes, what a rater says of an item; it is on disk upon return.

        Returns:
          All that the rater says of the item now.

        Raises:
          UserError: a field or a value is not of the scale, or the disk refuses; then the file
            ends with the rating before.
        """
        for name, value in values.items():
            if refusal := self._scale.refusal(name, value):
                raise UserError(refusal)
        now = {**self.values(rater, item), **values}
        row = {
            "id": item.id,
            "source": item.source,
            "rater": rater,
            "kind": self._kind,
            **{name: now.get(name) for name in self._scale.fields},
            "item": item.key,
            "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        }
        line = (json.dumps(row, ensure_ascii=False) + "\n").encode()
        try:
            written = 0
            while written < len(line):
                written += os.write(self._file, line[written:])
            os.fsync(self._file)
        except OSError as error:
            os.ftruncate(self._file, self._length)
            raise UserError(f"{self._path} cannot be written: {system_reason(error)}") from error
        self._length += len(line)
        self._values.setdefault((rater, item.key), {}).update(now)
        return now

    def _cut(self) -> int:
        """Locks the file, leaves whole lines of it, and returns their length."""
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            content = os.pread(self._file, os.fstat(self._file).st_size, 0)
            length = content.rfind(b"\n") + 1
            if length < len(content):
                os.ftruncate(self._file, length)
        except BlockingIOError:
            raise UserError(
                f"another process takes ratings for {self._path}; go on there, or stop it first"
            ) from None
        except OSError as error:
            raise UserError(f"{self._path} cannot be written: {system_reason(error)}") from error
        return length
