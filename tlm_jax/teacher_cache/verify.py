"""Reads all of a cache and tells what is damaged, missing, twice or unknown."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

from tlm_jax.errors import UserError
from tlm_jax.teacher_cache.encodings import Hidden
from tlm_jax.teacher_cache.manifest import SHARD_SUFFIX
from tlm_jax.teacher_cache.merge import sha256_of
from tlm_jax.teacher_cache.open_shards import ListedShard
from tlm_jax.teacher_cache.reader import TeacherCache
from tlm_jax.teacher_cache.shard import ShardFile
from tlm_jax.teacher_cache.shard_format import DamageError


@dataclasses.dataclass(frozen=True)
class ShardReport:
    """What was found in a shard.

    Attributes:
      name: of its file.
      rows: that it should have.
      readable: rows that were read and decoded, and those that another shard has as well.
      tokens: of the rows that were read.
      problems: one line each; none if all is as written.
    """

    name: str
    rows: int
    readable: int
    tokens: int
    problems: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Verification:
    """What was found in a cache.

    Attributes:
      cache: with which it was read.
      shards: one report each.
      problems: of the directory as a whole.
    """

    cache: TeacherCache
    shards: tuple[ShardReport, ...]
    problems: tuple[str, ...]

    @property
    def whole(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems and not any(shard.problems for shard in self.shards)


def verify(
    directory: Path, *, read: Callable[[int, int], None] = lambda done, total: None
) -> Verification:
    """Checks every byte and decodes every row of the cache in `directory`.

    Args:
      directory: of the cache.
      read: told how many bytes have been checked, and of how many.

    Raises:
      UserError: no cache there, a damaged manifest, another version of the format, or two rows of
        one key with different content.
    """
    cache = TeacherCache.open(directory, on_damage="skip")
    reports, done = [], 0
    total = sum(shard.entry.bytes for shard in cache.shards)
    for number, shard in enumerate(cache.shards):
        reports.append(_check(cache, number, shard))
        done += shard.entry.bytes
        read(done, total)
    return Verification(cache, tuple(reports), tuple(_around(directory, cache)))


def _check(cache: TeacherCache, number: int, shard: ListedShard) -> ShardReport:
    problems: list[str] = []
    entry = shard.entry
    readable = tokens = 0
    for row in cache.rows_of(number):
        readable += 1
        tokens += len(row.token_ids)
    lost = cache.damaged.get(str(shard.path), 0)
    try:
        file = ShardFile(shard.path, recover=True)
        problems += file.damage
        size = shard.path.stat().st_size
        if size != entry.bytes:
            problems.append(f"{size:,} bytes, written were {entry.bytes:,}")
        elif sha256_of(shard.path) != entry.sha256:
            problems.append("its SHA-256 differs from the manifest's")
    except (DamageError, OSError) as error:
        problems.append(getattr(error, "strerror", None) or str(error))
    if lost:
        problems.append(f"{lost:,} of {entry.rows:,} rows lost")
        return ShardReport(entry.name, entry.rows, readable, tokens, tuple(problems))
    return ShardReport(entry.name, entry.rows, entry.rows, tokens, tuple(problems))


def _around(directory: Path, cache: TeacherCache) -> list[str]:
    """Returns what is wrong beside the shards."""
    problems = []
    listed = {shard.entry.name for shard in cache.shards}
    for path in sorted(directory.glob(f"shard-*{SHARD_SUFFIX}")):
        if path.name not in listed:
            problems.append(f"{path.name} is in no manifest; its host lists it when it resumes")
    try:
        if cache.has_table and cache.table.size > cache.header.vocabulary_size:
            problems.append(
                f"the token table has {cache.table.size:,} tokens, the vocabulary "
                f"{cache.header.vocabulary_size:,}"
            )
    except UserError as error:
        problems.append(str(error))
    try:
        if cache.unembedding is None and isinstance(cache.encoding, Hidden):
            problems.append("no unembedding: its hidden states tell no distributions")
    except UserError as error:
        problems.append(str(error))
    return problems
