"""Makes one cache of several, without coding rows again."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from tlm_jax.errors import UserError
from tlm_jax.teacher_cache.manifest import (
    Part,
    ShardEntry,
    part_path,
    read_parts,
    shard_name,
    write_part,
)
from tlm_jax.teacher_cache.reader import TeacherCache
from tlm_jax.teacher_cache.token_file import read_tokens, write_tokens
from tlm_jax.teacher_cache.unembedding import read_unembedding, write_unembedding

_BLOCK_BYTES = 1 << 20


def merge(
    destination: Path,
    sources: Sequence[Path],
    *,
    written: Callable[[int, int], None] = lambda done, total: None,
) -> TeacherCache:
    """Puts the shards of `sources` into a new directory.

    Shards are linked where the file system can, else copied; their checksums are checked. A row
    that stands in several sources with equal content stays in its shards, and counts once.

    Args:
      destination: a directory that does not exist.
      sources: directories of caches of one teacher, tokenizer and encoding.
      written: told how many bytes are done, and of how many.

    Raises:
      UserError: the destination exists, or the sources are damaged, do not belong together, or
        have rows of one key with different content.
    """
    if destination.exists():
        raise UserError(f"{destination} exists already; name a directory that does not.")
    merged = TeacherCache.open(sources)
    partial = destination.with_name(destination.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    entries, done = [], 0
    total = sum(shard.entry.bytes for shard in merged.shards)
    for number, shard in enumerate(merged.shards):
        path = partial / shard_name(0, number)
        _link(shard.path, path, shard.entry)
        entries.append(dataclasses.replace(shard.entry, name=path.name))
        done += shard.entry.bytes
        written(done, total)
    for source in sources:
        table = read_tokens(source)
        if table is not None:
            write_tokens(partial, table)
        unembedding = read_unembedding(source)
        if unembedding is not None:
            write_unembedding(partial, unembedding)
    identity = {**merged.identity, "header": merged.header.to_json()}
    offered = sum(part.duplicates for source in sources for part in read_parts(source).values())
    write_part(part_path(partial, 0), Part(identity, tuple(entries), offered))
    partial.rename(destination)
    return TeacherCache.open(destination)


def sha256_of(path: Path) -> str:
    """Returns the SHA-256 of a file's content."""
    hashed = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            hashed.update(block)
    return hashed.hexdigest()


def _link(source: Path, path: Path, entry: ShardEntry) -> None:
    if sha256_of(source) != entry.sha256:
        raise UserError(
            f"{source}: damaged, its checksum differs; `python -m tlm_jax.cache_teacher verify "
            f"{source.parent}` tells what is lost."
        )
    try:
        os.link(source, path)
    except OSError:
        shutil.copyfile(source, path)
