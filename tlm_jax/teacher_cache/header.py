"""The header of a cache: whose distributions these are, and how rows are keyed."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from tlm_jax.errors import UserError

FORMAT_VERSION = 2
"""Of what is written."""

READABLE_VERSIONS = (1, 2)
"""A cache may hold shards of several: one that was begun by an earlier program is gone on with."""

# Caches of several tasks are read, and merged, as one.
_MAY_DIFFER = ("source_task",)


@dataclasses.dataclass(frozen=True)
class Header:
    """Identity of a cache; rows may be added only under the same.

    Attributes:
      teacher: name of the teacher, for people.
      teacher_fingerprint: of its parameters, or whatever tells this teacher from others.
      tokenizer_fingerprint: of its vocabulary (`TokenTable.fingerprint`); empty where only the
        texts of tokens are known.
      vocabulary_size: ids are below it.
      temperature: at which the distributions were taken.
      source_task: the task or file whose texts were scored.
      key_fields: the fields of an example that `content_key` was taken of, in order; `options` are
        as many texts as there are options.
      settings: whatever else decides a row, such as the prompt's template or a seed; JSON.
    """

    teacher: str
    teacher_fingerprint: str
    tokenizer_fingerprint: str
    vocabulary_size: int
    temperature: float = 1.0
    source_task: str = ""
    key_fields: tuple[str, ...] = ("question", "options", "targets")
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Returns the fields as JSON values."""
        fields = dataclasses.asdict(self)
        return {**fields, "key_fields": list(self.key_fields), "settings": dict(self.settings)}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Header:
        """Reads `to_json`. Raises TypeError or KeyError if it is none."""
        return cls(**{**fields, "key_fields": tuple(fields["key_fields"])})


def unreadable(version: object) -> str | None:
    """Returns what is to be said about a format version, None if it can be read."""
    if version in READABLE_VERSIONS:
        return None
    known = " and ".join(map(str, READABLE_VERSIONS))
    return f"format version {version}, this program reads {known}; use the tlm_jax that wrote it"


def check_same(own: Mapping[str, Any], other: Mapping[str, Any], where: str) -> None:
    """Checks that rows of two caches may stand together.

    Args:
      own: identity of the cache at hand: header, encoding and compression as JSON.
      other: of the other.
      where: names the other one.

    Raises:
      UserError: they differ; the first difference is named.
    """
    for name, expected, found in _differences(own, other):
        if name.removeprefix("header.") not in _MAY_DIFFER:
            raise UserError(
                f"{where}: {name} is {found!r}, expected {expected!r}. Rows of different teachers, "
                "tokenizers or settings do not mix; use another directory."
            )


def _differences(own: Mapping[str, Any], other: Mapping[str, Any], prefix: str = ""):
    for name in dict.fromkeys((*own, *other)):
        expected, found = own.get(name), other.get(name)
        if isinstance(expected, Mapping) and isinstance(found, Mapping):
            yield from _differences(expected, found, f"{prefix}{name}.")
        elif expected != found:
            yield f"{prefix}{name}", expected, found
