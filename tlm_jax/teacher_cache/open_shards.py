"""The shards of a cache that is read: files opened when they are first needed, the latest kept."""

from __future__ import annotations

import collections
import dataclasses
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tlm_jax.errors import UserError
from tlm_jax.teacher_cache.encoding import Encoding
from tlm_jax.teacher_cache.header import check_same
from tlm_jax.teacher_cache.manifest import ShardEntry
from tlm_jax.teacher_cache.shard import ShardFile
from tlm_jax.teacher_cache.shard_format import DamageError, VersionError

_OPEN_SHARDS = 256


@dataclasses.dataclass(frozen=True)
class ListedShard:
    """A shard that a manifest names."""

    path: Path
    entry: ShardEntry


class OpenShards:
    """Files and codebooks by the shards' numbers; safe to use from several threads."""

    def __init__(
        self,
        shards: Sequence[ListedShard],
        identity: Mapping[str, Any],
        encoding: Encoding,
        *,
        recover: bool,
    ):
        """Opens nothing yet.

        Args:
          shards: which there are.
          identity: that of each.
          encoding: reads their codebooks.
          recover: make do with what can still be read of a damaged one.
        """
        self._shards, self._identity, self._encoding = shards, identity, encoding
        self._recover = recover
        self._lock = threading.Lock()
        self._open: collections.OrderedDict[int, tuple[ShardFile, Any]] = collections.OrderedDict()

    def get(self, number: int) -> tuple[ShardFile, Any] | None:
        """Returns a shard's file and codebook; None if nothing of it can be read.

        Raises:
          UserError: it is of another version or cache; or damaged, and nothing is to be recovered.
        """
        with self._lock:
            if number in self._open:
                self._open.move_to_end(number)
                return self._open[number]
        listed = self._shards[number]
        try:
            file = ShardFile(listed.path, recover=self._recover)
            if not self._recover and listed.path.stat().st_size != listed.entry.bytes:
                raise DamageError(f"its size is not the {listed.entry.bytes:,} bytes of its entry")
            check_same(self._identity, file.description.identity, str(listed.path))
            described = file.description
            codebook = self._encoding.read_codebook(described.codebook, described.version)
        except VersionError as error:
            raise UserError(f"{listed.path}: {error}.") from error
        except (DamageError, ValueError, OSError) as error:
            if not self._recover:
                raise damaged(listed.path, error) from error
            return None
        with self._lock:
            self._open[number] = file, codebook
            while len(self._open) > _OPEN_SHARDS:
                self._open.popitem(last=False)
        return file, codebook


def damaged(path: Path, error: Exception, part: str = "") -> UserError:
    """Returns the error of a shard, or of a part of it, that is not what was written."""
    reason = getattr(error, "strerror", None) or error
    return UserError(
        f"{path}: {part}{reason}. `python -m tlm_jax.cache_teacher verify {path.parent}` tells "
        "what is lost; TEACHER_ON_DAMAGE='skip' (on_damage) goes on without it."
    )
