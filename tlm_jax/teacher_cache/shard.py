"""One file of rows: written at once, found by key, checked part by part."""

from __future__ import annotations

import hashlib
import mmap
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from tlm_jax.teacher_cache.header import unreadable
from tlm_jax.teacher_cache.shard_format import (
    END_MAGIC,
    FOOTER,
    INDEX_DTYPE,
    MAGIC,
    MARKER,
    PROLOGUE,
    RECORD,
    ROW,
    DamageError,
    Description,
    Record,
    VersionError,
    example_hash,
    stored_record,
)
from tlm_jax.teacher_cache.whole_files import sync_directory


def write_shard(path: Path, description: Description, records: Sequence[Record]) -> str:
    """Writes a shard that is whole or not there; returns its SHA-256."""
    index = np.zeros(len(records), INDEX_DTYPE)
    partial = path.with_name(path.name + ".partial")
    hashed = hashlib.sha256()
    with partial.open("wb") as file:

        def put(data: bytes) -> None:
            hashed.update(data)
            file.write(data)

        described = description.to_bytes()
        sizes = (description.version, len(described), zlib.crc32(described))
        crc = zlib.crc32(PROLOGUE.pack(MAGIC, *sizes, 0)[:-4])
        put(PROLOGUE.pack(MAGIC, *sizes, crc))
        put(described)
        for number, record in enumerate(records):
            stored = stored_record(record)
            high, low = struct.unpack(">QQ", record.key)
            index[number] = (
                high,
                low,
                np.void(record.digest),
                example_hash(record.example_id),
                file.tell(),
                len(stored),
                record.num_tokens,
            )
            put(stored)
        index_at = file.tell()
        table = index[np.lexsort((index["key_low"], index["key_high"]))].tobytes()
        put(table)
        places = (index_at, len(index), file.tell(), zlib.crc32(table), zlib.crc32(described))
        put(described)
        crc = zlib.crc32(FOOTER.pack(*places, 0, END_MAGIC)[:-12])
        put(FOOTER.pack(*places, crc, END_MAGIC))
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    sync_directory(path.parent)
    return hashed.hexdigest()


class ShardFile:
    """A shard, mapped into memory.

    Attributes:
      description: its beginning.
      index: its rows, sorted by key; those found by a scan where the index is damaged.
      damage: what is wrong with the parts other than rows; empty if nothing is.
    """

    def __init__(self, path: Path, *, recover: bool = False):
        """Opens a shard; checks all but its rows.

        Args:
          path: of the file.
          recover: make do with what can still be read.

        Raises:
          DamageError: a part is damaged, and `recover` is False or nothing is left to recover.
          VersionError: it has another version of the format.
          OSError: there is no such file, or it cannot be read.
        """
        self.path = path
        self.damage: list[str] = []
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size == 0:
                raise DamageError("an empty file")
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._data = memoryview(self._map)
        footer = self._try(self._footer, recover)
        self.description, start = self._describe(footer, recover)
        found = None if footer is None else self._try(lambda: self._index(*footer[:4]), recover)
        self.index = self._scan(start) if found is None else found

    def record(self, offset: int, size: int, digest: bytes) -> Record:
        """Reads a row by what its entry in the index says.

        Raises:
          DamageError: it is not what was written.
        """
        record = self._record(offset)
        if record.end != offset + size or record.digest != digest:
            raise DamageError("a row and its entry in the index differ")
        return record

    def _try(self, read, recover: bool):
        try:
            return read()
        except DamageError as error:
            if not recover:
                raise
            self.damage.append(str(error))
            return None

    def _footer(self) -> tuple[int, int, int, int, int]:
        if len(self._data) < PROLOGUE.size + FOOTER.size:
            raise DamageError(f"cut off after {len(self._data):,} bytes")
        end = bytes(self._data[-FOOTER.size :])
        *places, crc, magic = FOOTER.unpack(end)
        if magic != END_MAGIC or zlib.crc32(end[:-12]) != crc:
            raise DamageError("cut off, or its footer is damaged")
        return tuple(places)

    def _describe(self, footer, recover: bool) -> tuple[Description, int]:
        """Returns the description and where rows start; from its copy if need be."""

        def first() -> tuple[Description, int]:
            start = bytes(self._data[: PROLOGUE.size])
            if len(start) < PROLOGUE.size or start[:8] != MAGIC:
                raise DamageError("it does not begin as a shard does")
            _, version, size, crc, own = PROLOGUE.unpack(start)
            if zlib.crc32(start[:-4]) != own:
                raise DamageError("its first bytes are damaged")
            if reason := unreadable(version):
                raise VersionError(f"it has {reason}")
            data = bytes(self._data[PROLOGUE.size :][:size])
            if len(data) != size or zlib.crc32(data) != crc:
                raise DamageError("its description is damaged")
            return Description.from_bytes(data), PROLOGUE.size + size

        found = self._try(first, recover and footer is not None)
        if found is not None:
            return found
        assert footer is not None  # else `first` has raised
        data = bytes(self._data[footer[2] : -FOOTER.size])
        if zlib.crc32(data) != footer[4]:
            raise DamageError("its description is damaged in both places")
        return Description.from_bytes(data), PROLOGUE.size

    def _index(self, place: int, rows: int, stop: int, crc: int) -> np.ndarray:
        data = self._data[place:stop]
        if len(data) != rows * INDEX_DTYPE.itemsize or zlib.crc32(data) != crc:
            raise DamageError("its index is damaged")
        return np.frombuffer(bytes(data), INDEX_DTYPE)

    def _record(self, offset: int) -> Record:
        start = offset + RECORD.size
        if start > len(self._data):
            raise DamageError("a row is cut off")
        marker, size, crc = RECORD.unpack_from(self._data, offset)
        content = self._data[start : start + size]
        if marker != MARKER or len(content) != size or size < ROW.size:
            raise DamageError("the beginning of a row is damaged, or the row is cut off")
        if zlib.crc32(content) != crc:
            raise DamageError("a row does not have its checksum")
        key, digest, num_tokens, example_bytes = ROW.unpack_from(content)
        example = bytes(content[ROW.size : ROW.size + example_bytes])
        return Record(
            key,
            digest,
            example.decode("utf-8", "surrogatepass"),
            num_tokens,
            content[ROW.size + example_bytes :],
            start + size,
        )

    def _scan(self, start: int) -> np.ndarray:
        """Returns an index of the rows that can still be read, found by their markers."""
        entries = []
        for offset, record in self._surviving(start):
            high, low = struct.unpack(">QQ", record.key)
            entries.append(
                (
                    *(high, low, np.void(record.digest), example_hash(record.example_id)),
                    *(offset, record.end - offset, record.num_tokens),
                )
            )
        index = np.array(entries, INDEX_DTYPE) if entries else np.zeros(0, INDEX_DTYPE)
        return index[np.lexsort((index["key_low"], index["key_high"]))]

    def _surviving(self, offset: int) -> Iterator[tuple[int, Record]]:
        while (offset := self._map.find(MARKER, offset)) >= 0:
            try:
                record = self._record(offset)
            except DamageError:
                offset += 1
                continue
            yield offset, record
            offset = record.end
