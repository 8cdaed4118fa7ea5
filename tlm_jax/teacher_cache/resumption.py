"""Resumption of a cache: what a writer finds in its directory, and clears away."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tlm_jax.errors import UserError
from tlm_jax.teacher_cache.header import check_same
from tlm_jax.teacher_cache.key_index import KeyIndex
from tlm_jax.teacher_cache.manifest import Part, ShardEntry, part_path, read_parts, write_part
from tlm_jax.teacher_cache.shard import ShardFile
from tlm_jax.teacher_cache.shard_format import DamageError, VersionError


def resume(directory: Path, host: int, identity: Mapping[str, Any]) -> tuple[Part, KeyIndex]:
    """Reads what is there, and removes what a kill of this host left unfinished.

    Args:
      directory: of the cache.
      host: the number of the one that is going to write.
      identity: of what it writes.

    Returns:
      The host's own part, and an index of the rows of all hosts.

    Raises:
      UserError: what is there is damaged, or of another identity.
    """
    parts = read_parts(directory)
    for path, part in parts.items():
        check_same(identity, part.identity, str(path))
    own_path = part_path(directory, host)
    own = parts.get(own_path, Part(identity))
    listed = {entry.name for part in parts.values() for entry in part.shards}
    for path in sorted(directory.glob(f"shard-{host:05d}-*")):
        if path.name.endswith(".partial"):
            path.unlink()
        elif path.name not in listed:
            # Finished, but the kill came before it was listed; or the list was lost.
            own = dataclasses.replace(own, shards=(*own.shards, _entry_of(path, identity)))
            listed.add(path.name)
    write_part(own_path, own)
    names = sorted(listed)
    return own, KeyIndex([_open(directory / name).index for name in names], names)


def _entry_of(path: Path, identity: Mapping[str, Any]) -> ShardEntry:
    """Returns the entry of a shard that no part lists."""
    shard, data = _open(path), path.read_bytes()
    check_same(identity, shard.description.identity, str(path))
    return ShardEntry(
        path.name,
        len(shard.index),
        int(shard.index["tokens"].sum()),
        len(data),
        hashlib.sha256(data).hexdigest(),
        shard.description.tally,
    )


def _open(path: Path) -> ShardFile:
    try:
        return ShardFile(path)
    except VersionError as error:
        raise UserError(f"{path}: {error}.") from error
    except (DamageError, OSError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(
            f"{path}: {reason}; `python -m tlm_jax.cache_teacher verify {path.parent}` tells what "
            "is lost."
        ) from error
