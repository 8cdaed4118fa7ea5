"""Adds rows to a cache: shard by shard, each whole or not there."""

from __future__ import annotations

import dataclasses
import os
import time
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from tlm_jax.errors import UserError, system_reason
from tlm_jax.teacher_cache.compression import compression_by_name
from tlm_jax.teacher_cache.encoding import MAX_VOCABULARY, Encoding
from tlm_jax.teacher_cache.header import Header
from tlm_jax.teacher_cache.host_lock import lock_host
from tlm_jax.teacher_cache.key_index import key_bytes
from tlm_jax.teacher_cache.manifest import (
    ShardEntry,
    part_path,
    shard_name,
    shard_number,
    write_part,
)
from tlm_jax.teacher_cache.resumption import resume
from tlm_jax.teacher_cache.shard import write_shard
from tlm_jax.teacher_cache.shard_format import Description, Record
from tlm_jax.teacher_cache.steps import TeacherRow
from tlm_jax.teacher_cache.token_file import write_tokens
from tlm_jax.teacher_cache.unembedding import StoredUnembedding, write_unembedding
from tlm_jax.vocabularies.token_bytes import TokenTable

_BUFFERED_BYTES = 256 << 20


@dataclasses.dataclass(frozen=True)
class _Waiting:
    """A prepared row of the shard that is being collected."""

    key: bytes
    example_id: str
    digest: bytes
    content: Any


class CacheWriter:
    """Writes rows into a directory, alone or as one of several hosts; a context manager.

    Rows are collected in memory and become a shard, `rows_per_shard` at a time; a finished shard is
    never touched again. After a kill the rows that were waiting are lost, `have` is False for them,
    and they are to be written again. On leaving the `with` block the last shard is finished, also
    when an exception leaves it: rows that were written are kept.

    Attributes:
      num_rows: in the cache as far as this host knows.
      duplicates: rows offered again with equal content, which are kept once.
    """

    def __init__(
        self,
        directory: Path | str,
        header: Header,
        *,
        encoding: Encoding,
        host: int = 0,
        num_hosts: int = 1,
        rows_per_shard: int = 4096,
        seal_seconds: float = 600.0,
        compression: str = "none",
        table: TokenTable | None = None,
        unembedding: StoredUnembedding | None = None,
    ):
        """Opens a cache for appending, or makes one.

        Args:
          directory: of the cache; the same on all hosts.
          header: identity; equal to that of the rows that are there.
          encoding: likewise.
          host: this one's number.
          num_hosts: how many write; may differ from one run to the next.
          rows_per_shard: fewer where rows are so long that memory would run out.
          seal_seconds: finish a shard after this long, full or not, so that a kill costs a slow
            teacher no more than that.
          compression: `none` or `zstd`.
          table: the teacher's tokens, if they are known by now.
          unembedding: the teacher's, for the encoding `hidden`.

        Raises:
          UserError: what is there is damaged or of another teacher, or another process is writing
            as the same host.
        """
        if not 0 <= host < num_hosts:
            raise UserError(f"host must be 0 to {num_hosts - 1} of {num_hosts}, got {host}.")
        if rows_per_shard < 1:
            raise UserError(f"rows_per_shard must be at least 1, got {rows_per_shard}.")
        if not 1 <= header.vocabulary_size <= MAX_VOCABULARY:
            raise UserError(
                f"vocabulary_size must be 1 to {MAX_VOCABULARY:,}, got {header.vocabulary_size:,}."
            )
        self._directory = Path(directory)
        self._header, self._encoding = header, encoding
        self._host, self._rows_per_shard = host, rows_per_shard
        self._seal_seconds, self._sealed = seal_seconds, time.monotonic()
        self._compress = compression_by_name(compression).compress
        self._identity = {
            "header": header.to_json(),
            "encoding": encoding.settings(),
            "compression": compression,
        }
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            self._lock: int | None = lock_host(self._directory, host)
        except OSError as error:
            raise _refusal(self._directory, error) from error
        self._waiting: list[_Waiting] = []
        self._waiting_bytes = 0
        self._new: dict[bytes, bytes] = {}
        try:
            self._part, self._known = resume(self._directory, host, self._identity)
            if table is not None:
                self.write_table(table)
            if unembedding is not None:
                write_unembedding(self._directory, unembedding)
        except BaseException:
            self._unlock()
            raise

    def __enter__(self) -> CacheWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def num_rows(self) -> int:
        return len(self._known) + len(self._new)

    @property
    def duplicates(self) -> int:
        return self._part.duplicates

    def have(self, key: str) -> bool:
        """Whether the cache has a row of this key, of whichever host."""
        return self._digest(key_bytes(key)) is not None

    def write(self, row: TeacherRow) -> None:
        """Adds a row.

        Raises:
          UserError: its distributions cannot be cached, or its key stands for other content.
        """
        key = key_bytes(row.key)
        try:
            size = self._header.vocabulary_size
            content = self._encoding.prepare(row.token_ids, row.steps, size)
            if len(row.example_id.encode("utf-8", "surrogatepass")) > 0xFFFF:
                raise UserError("its example id has more than 65,535 bytes.")
        except UserError as error:
            raise UserError(f"row {row.key} (example {row.example_id!r}): {error}") from error
        digest = content.digest()
        present = self._digest(key)
        if present == digest:
            self._part = dataclasses.replace(self._part, duplicates=self._part.duplicates + 1)
            return
        if present is not None:
            raise UserError(
                f"row {row.key} (example {row.example_id!r}): the cache has this key with other "
                "content; was the text scored twice with different results?"
            )
        self._new[key] = digest
        self._waiting.append(_Waiting(key, row.example_id, digest, content))
        self._waiting_bytes += sum(
            part.nbytes for part in vars(content).values() if isinstance(part, np.ndarray)
        )
        if (
            len(self._waiting) >= self._rows_per_shard
            or self._waiting_bytes >= _BUFFERED_BYTES
            or time.monotonic() - self._sealed > self._seal_seconds
        ):
            self.flush()

    def write_table(self, table: TokenTable) -> None:
        """Keeps the teacher's tokens beside the rows; a table from texts alone may grow.

        Raises:
          UserError: it is not of the header's tokenizer, or another one lies there.
        """
        expected = self._header.tokenizer_fingerprint
        if expected and table.fingerprint != expected:
            raise UserError(
                f"the token table has fingerprint {table.fingerprint!r}, the header says "
                f"{expected!r}; give both from one tokenizer."
            )
        write_tokens(self._directory, table)

    def flush(self) -> None:
        """Finishes the shard that is being collected.

        Raises:
          UserError: the directory cannot be written; the rows are still waiting.
        """
        try:
            if self._waiting:
                entry = self._write(self._waiting)
                shards = (*self._part.shards, entry)
                self._part = dataclasses.replace(self._part, shards=shards)
            self._waiting, self._waiting_bytes, self._sealed = [], 0, time.monotonic()
            write_part(part_path(self._directory, self._host), self._part)
        except OSError as error:
            raise _refusal(self._directory, error) from error

    def close(self) -> None:
        """Finishes the last shard, and lets others write as this host."""
        if self._lock is None:
            return
        try:
            self.flush()
        finally:
            self._unlock()

    def _write(self, rows: list[_Waiting]) -> ShardEntry:
        contents = [row.content for row in rows]
        codebook = self._encoding.fit(contents)
        bodies = self._encoding.encode(codebook, contents)
        records = [
            Record(
                row.key,
                row.digest,
                row.example_id,
                len(row.content.token_ids),
                self._compress(body),
            )
            for row, body in zip(rows, bodies)
        ]
        tally = sum((Counter(self._encoding.tally(content)) for content in contents), Counter())
        description = Description(self._identity, dict(tally), codebook.to_bytes())
        number = 1 + max((shard_number(entry.name) for entry in self._part.shards), default=-1)
        path = self._directory / shard_name(self._host, number)
        sha256 = write_shard(path, description, records)
        tokens = sum(record.num_tokens for record in records)
        return ShardEntry(path.name, len(rows), tokens, path.stat().st_size, sha256, dict(tally))

    def _digest(self, key: bytes) -> bytes | None:
        if key in self._new:
            return self._new[key]
        place = int(self._known.find([key.hex()])[0])
        return None if place < 0 else self._known.entries["digest"][place].tobytes()

    def _unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _refusal(directory: Path, error: OSError) -> UserError:
    return UserError(
        f"{directory}: cannot be written ({system_reason(error)}); what was finished is kept, and "
        "the same run goes on from there."
    )
