"""Reads a cache, or several as one: rows by key, in any order, many at once."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tlm_jax.errors import UserError
from tlm_jax.teacher_cache import token_file
from tlm_jax.teacher_cache.compression import compression_by_name
from tlm_jax.teacher_cache.encoding import Encoding, Steps
from tlm_jax.teacher_cache.encodings import encoding_from_settings
from tlm_jax.teacher_cache.header import Header, check_same
from tlm_jax.teacher_cache.key_index import KeyIndex, key_of
from tlm_jax.teacher_cache.manifest import Part, read_parts
from tlm_jax.teacher_cache.open_shards import ListedShard, OpenShards, damaged
from tlm_jax.teacher_cache.shard_format import INDEX_DTYPE, DamageError, Record
from tlm_jax.teacher_cache.sparse_symbols import DIGEST_BYTES
from tlm_jax.teacher_cache.steps import TeacherRow
from tlm_jax.teacher_cache.unembedding import StoredUnembedding, read_unembedding
from tlm_jax.vocabularies.token_bytes import TokenTable

_ROWS_AT_ONCE = 256


class TeacherCache:
    """Rows by key; safe to read from several threads.

    Attributes:
      header: identity of the rows; `source_task` names the tasks of all.
      encoding: how they are kept; `encoding.max_error_nats` bounds the error.
      shards: the files, in the order of their paths.
      duplicates: rows that stand in several shards with equal content, and count once.
    """

    def __init__(
        self,
        directories: Sequence[Path],
        parts: Mapping[Path, Part],
        on_damage: str,
    ):
        """Use `TeacherCache.open`."""
        self._directories = tuple(directories)
        self._on_damage = on_damage
        self.identity: Mapping[str, Any] = next(iter(parts.values())).identity
        self.encoding: Encoding = encoding_from_settings(self.identity["encoding"])
        self.header = _joined_header(parts.values())
        self.shards = tuple(
            ListedShard(path.parent / entry.name, entry)
            for path, part in parts.items()
            for entry in part.shards
        )
        self._decompress = compression_by_name(self.identity["compression"]).decompress
        self._files = OpenShards(
            self.shards, self.identity, self.encoding, recover=on_damage == "skip"
        )
        self._lost: collections.Counter[str] = collections.Counter()
        self._refused: set[tuple[int, str]] = set()
        indices = [self._index_of(number) for number in range(len(self.shards))]
        self._rows = KeyIndex(indices, [str(shard.path) for shard in self.shards])
        self.duplicates = self._rows.duplicates

    @classmethod
    def open(
        cls,
        paths: Path | str | Sequence[Path | str],
        *,
        on_damage: str = "stop",
    ) -> TeacherCache:
        """Opens the caches in one or several directories as one.

        Args:
          paths: of the directories.
          on_damage: `stop` raises at the first damaged part, `skip` leaves its rows out and counts
            them in `damaged`.

        Raises:
          UserError: no cache there, caches that do not belong together, two rows of one key with
            different content, another version of the format; damage, with `stop`.
        """
        if on_damage not in ("stop", "skip"):
            raise UserError(f"on_damage must be 'stop' or 'skip', got {on_damage!r}.")
        single = isinstance(paths, (str, Path))
        directories = [Path(path) for path in ([paths] if single else paths)]
        parts: dict[Path, Part] = {}
        for directory in directories:
            found = read_parts(directory)
            if not found:
                raise UserError(
                    f"{directory}: no teacher cache there (no part-*.json); "
                    "`python -m tlm_jax.cache_teacher` makes one."
                )
            parts.update(found)
        if not parts:
            raise UserError("no teacher cache given; expected at least one directory.")
        first = next(iter(parts.values())).identity
        for path, part in parts.items():
            check_same(first, part.identity, str(path))
        return cls(directories, parts, on_damage)

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def num_tokens(self) -> int:
        """The scored tokens of all rows."""
        return int(self._rows.entries["tokens"].sum())

    @property
    def table(self) -> TokenTable:
        """The teacher's tokens.

        Raises:
          UserError: none lie there, or they are damaged.
        """
        for directory in self._directories:
            table = token_file.read_tokens(directory)
            if table is not None:
                return table
        raise UserError(f"{self._directories[0]}: the cache has no token table (tokens.json.gz).")

    @property
    def has_table(self) -> bool:
        """Whether a token table lies beside the rows."""
        return any((directory / token_file.FILE_NAME).exists() for directory in self._directories)

    @property
    def unembedding(self) -> StoredUnembedding | None:
        """The teacher's unembedding, which `hidden` rows need; None where none lies there."""
        found = (read_unembedding(directory) for directory in self._directories)
        return next((unembedding for unembedding in found if unembedding is not None), None)

    @property
    def damaged(self) -> dict[str, int]:
        """Rows that could not be read so far, by shard; always empty with `on_damage="stop"`."""
        counts = self._lost.copy()
        for number, _ in self._refused:
            counts[str(self.shards[number].path)] += 1
        return dict(counts)

    def keys(self) -> Iterator[str]:
        """Yields the keys of all rows, ascending."""
        return map(key_of, self._rows.entries)

    def keys_of(self, example_id: str) -> tuple[str, ...]:
        """Returns the keys of the rows that were scored for an example."""
        return tuple(map(key_of, self._rows.entries[self._rows.of_example(example_id)]))

    def get(self, key: str) -> TeacherRow | None:
        """Returns the row of a key; None where there is none, or it is damaged and skipped.

        `get_many` reads many rows ten times faster.
        """
        return self.get_many([key])[0]

    def get_many(self, keys: Sequence[str]) -> list[TeacherRow | None]:
        """Returns the row of each key; rows of a shard are decoded together, which is fast.

        Raises:
          UserError: a row is damaged, with `on_damage="stop"`.
        """
        found: list[TeacherRow | None] = [None] * len(keys)
        places = self._rows.find(keys)
        wanted = np.flatnonzero(places >= 0)
        shards = self._rows.shards[places[wanted]]
        for shard in np.unique(shards).tolist():
            here = wanted[shards == shard]
            for start in range(0, len(here), _ROWS_AT_ONCE):
                some = here[start : start + _ROWS_AT_ONCE]
                rows = self._read(shard, self._rows.entries[places[some]])
                for number, row in zip(some.tolist(), rows):
                    found[number] = row
        return found

    def rows(self) -> Iterator[TeacherRow]:
        """Yields all rows that can be read, shard by shard, in the order they were written."""
        for shard in range(len(self.shards)):
            yield from self.rows_of(shard)

    def rows_of(self, shard: int) -> Iterator[TeacherRow]:
        """Yields the rows of one of `shards`."""
        entries = self._rows.entries[self._rows.shards == shard]
        entries = entries[np.argsort(entries["offset"])]
        for start in range(0, len(entries), _ROWS_AT_ONCE):
            for row in self._read(shard, entries[start : start + _ROWS_AT_ONCE]):
                if row is not None:
                    yield row

    def check_matches(
        self, *, teacher_fingerprint: str | None = None, tokenizer_fingerprint: str | None = None
    ) -> None:
        """Checks that the cache is of the teacher and tokenizer that a run is configured for.

        Raises:
          UserError: it is not.
        """
        expected = {
            "teacher": (self.header.teacher_fingerprint, teacher_fingerprint),
            "tokenizer": (self.header.tokenizer_fingerprint, tokenizer_fingerprint),
        }
        for what, (present, wanted) in expected.items():
            if wanted is not None and present != wanted:
                raise UserError(
                    f"{self._directories[0]}: the cache is of another {what} (fingerprint "
                    f"{present!r}, expected {wanted!r}; teacher {self.header.teacher!r}); score "
                    f"the texts again, or configure the {what} of the cache."
                )

    def _read(self, shard: int, entries: np.ndarray) -> list[TeacherRow | None]:
        """Reads rows of one shard, None for those that are damaged."""
        rows: list[TeacherRow | None] = [None] * len(entries)
        opened = self._files.get(shard)
        if opened is None:
            return rows
        file, codebook = opened
        records: list[tuple[int, Record, bytes | memoryview]] = []
        digests = entries["digest"].tobytes()
        places = zip(entries["offset"].tolist(), entries["size"].tolist())
        for number, (offset, size) in enumerate(places):
            digest = digests[number * DIGEST_BYTES : (number + 1) * DIGEST_BYTES]
            try:
                record = file.record(offset, size, digest)
                records.append((number, record, self._body(record)))
            except (DamageError, ValueError) as error:
                self._refuse(shard, key_of(entries[number]), error)
        for number, record, (token_ids, steps) in self._decoded(shard, codebook, records):
            rows[number] = TeacherRow(record.key.hex(), record.example_id, token_ids, steps)
        return rows

    def _body(self, record: Record) -> bytes | memoryview:
        plain = self.identity["compression"] == "none"
        return record.body if plain else self._decompress(bytes(record.body))

    def _decoded(
        self,
        shard: int,
        codebook: Any,
        records: Sequence[tuple[int, Record, bytes | memoryview]],
    ) -> Iterator[tuple[int, Record, Steps]]:
        try:
            decoded = self.encoding.decode(codebook, [body for *_, body in records])
            for (number, record, _), steps in zip(records, decoded):
                yield number, record, steps
        except ValueError as error:
            # With its checksum right, only a row that was written wrongly gets here.
            if len(records) == 1:
                self._refuse(shard, records[0][1].key.hex(), error)
                return
            for single in records:
                yield from self._decoded(shard, codebook, [single])

    def _index_of(self, shard: int) -> np.ndarray:
        """Returns the index of a shard, and counts what it should have and has not."""
        listed = self.shards[shard]
        opened = self._files.get(shard)
        index = np.zeros(0, INDEX_DTYPE) if opened is None else opened[0].index
        if len(index) < listed.entry.rows:
            self._lost[str(listed.path)] += listed.entry.rows - len(index)
        return index

    def _refuse(self, shard: int, key: str, error: Exception) -> None:
        if self._on_damage == "stop":
            raise damaged(self.shards[shard].path, error, f"row {key}: ") from error
        self._refused.add((shard, key))


def _joined_header(parts: Iterable[Part]) -> Header:
    """Returns the header of all parts, with the tasks of each."""
    headers = [Header.from_json(part.identity["header"]) for part in parts]
    tasks = dict.fromkeys(header.source_task for header in headers if header.source_task)
    return dataclasses.replace(headers[0], source_task=" + ".join(tasks))
