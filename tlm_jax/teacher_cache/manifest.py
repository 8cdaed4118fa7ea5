"""The list of finished shards: one file a host, so that hosts never write the same file."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tlm_jax.errors import UserError, system_reason
from tlm_jax.teacher_cache.header import FORMAT_VERSION, check_same, unreadable
from tlm_jax.teacher_cache.whole_files import read_json, write_json

SHARD_SUFFIX = ".rows"


@dataclasses.dataclass(frozen=True)
class ShardEntry:
    """A finished shard.

    Attributes:
      name: of its file.
      rows: how many it has.
      tokens: scored tokens of all rows.
      bytes: size of the file.
      sha256: of the file.
      tally: what the encoding counts, such as dropped steps.
    """

    name: str
    rows: int
    tokens: int
    bytes: int
    sha256: str
    tally: Mapping[str, int]


@dataclasses.dataclass(frozen=True)
class Part:
    """What one host has written.

    Attributes:
      identity: header, encoding and compression, as JSON; equal in all parts.
      shards: in the order in which they were finished.
      duplicates: rows offered again with equal content, and not kept.
    """

    identity: Mapping[str, Any]
    shards: tuple[ShardEntry, ...] = ()
    duplicates: int = 0


def part_path(directory: Path, host: int) -> Path:
    """Returns the path of a host's part."""
    return directory / f"part-{host:05d}.json"


def shard_name(host: int, number: int) -> str:
    """Returns the name of a host's shard."""
    return f"shard-{host:05d}-{number:06d}{SHARD_SUFFIX}"


def shard_number(name: str) -> int:
    """Returns the number in `shard_name`."""
    return int(name.removesuffix(SHARD_SUFFIX).rpartition("-")[2])


def write_part(path: Path, part: Part) -> None:
    """Writes a part that is whole or not there."""
    write_json(path, {"format_version": FORMAT_VERSION, **dataclasses.asdict(part)})


def read_parts(directory: Path) -> dict[Path, Part]:
    """Reads every host's part.

    Raises:
      UserError: no cache there, a damaged or newer part, or parts that differ.
    """
    try:
        paths = sorted(directory.glob("part-*.json"))
    except OSError as error:
        raise UserError(f"{directory}: cannot be read ({system_reason(error)}).") from error
    parts = {path: _read_part(path) for path in paths}
    for path, part in parts.items():
        check_same(next(iter(parts.values())).identity, part.identity, str(path))
    return parts


def _read_part(path: Path) -> Part:
    try:
        content = read_json(path)
    except ValueError as error:
        raise UserError(
            f"{path}: damaged ({error}); delete it, and run the command that wrote the cache "
            "again: the shards beside it still hold their rows, and are taken up."
        ) from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({system_reason(error)}).") from error
    if reason := unreadable(content.pop("format_version", None)):
        raise UserError(f"{path}: the cache has {reason}.")
    shards = tuple(ShardEntry(**entry) for entry in content.pop("shards"))
    return Part(shards=shards, **content)
