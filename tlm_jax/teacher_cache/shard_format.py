"""The layout of a shard: its parts in bytes, and what goes wrong with them."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import struct
import zlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from tlm_jax.teacher_cache.header import FORMAT_VERSION, unreadable
from tlm_jax.teacher_cache.sparse_symbols import DIGEST_BYTES

KEY_BYTES = 16


MAGIC = b"TLMTCH\r\n"


END_MAGIC = b"\r\nTLMEND"


MARKER = b"\xf4ROW"


INDEX_DTYPE = np.dtype(
    [
        ("key_high", ">u8"),
        ("key_low", ">u8"),
        ("digest", f"V{DIGEST_BYTES}"),
        ("example", "<u8"),
        ("offset", "<u8"),
        ("size", "<u4"),
        ("tokens", "<u4"),
    ]
)
"""One row of the index, 48 bytes; rows are sorted by key."""


PROLOGUE = struct.Struct("<8sIIII")  # magic, version, description bytes and CRC, CRC of these


DESCRIPTION = struct.Struct("<I")  # bytes of the JSON part; the codebook follows


RECORD = struct.Struct("<4sII")  # marker, bytes after this, their CRC


ROW = struct.Struct(f"<{KEY_BYTES}s{DIGEST_BYTES}sIH")  # key, digest, tokens, bytes of example id


FOOTER = struct.Struct("<QQQIII8s")
"""Places of index and description, rows between them; CRC of index, description, these; magic."""


class DamageError(Exception):
    """A part of a file is not what was written; the message says which."""


class VersionError(Exception):
    """A file is of another version of the format."""


class Record(NamedTuple):
    """A row as it is stored; a tuple, as reading makes one a row.

    Attributes:
      key: the row's key.
      digest: of its content, however it is coded.
      example_id: of the example it was scored for.
      num_tokens: T.
      body: what the encoding made of it, compressed or not.
      end: the place in the file behind it, where it has been read.
    """

    key: bytes
    digest: bytes
    example_id: str
    num_tokens: int
    body: bytes | memoryview
    end: int = 0


@dataclasses.dataclass(frozen=True)
class Description:
    """The beginning of a shard, repeated at its end.

    Attributes:
      identity: header, encoding and compression of the cache, as JSON.
      tally: what the encoding counts over the rows.
      codebook: of the encoding, fitted to this shard.
      version: of the format.
    """

    identity: Mapping[str, Any]
    tally: Mapping[str, int]
    codebook: bytes
    version: int = FORMAT_VERSION

    def to_bytes(self) -> bytes:
        """Returns the JSON's size, the JSON and the codebook."""
        content = {**self.identity, "tally": self.tally, "format_version": self.version}
        text = json.dumps(content, sort_keys=True).encode()
        return DESCRIPTION.pack(len(text)) + text + self.codebook

    @classmethod
    def from_bytes(cls, data: bytes) -> Description:
        """Reads `to_bytes`, whose CRC has been checked.

        Raises:
          VersionError: it is of a version that is not known here.
        """
        (size,) = DESCRIPTION.unpack_from(data)
        start = DESCRIPTION.size
        identity = json.loads(data[start : start + size])
        version = identity.pop("format_version", 1)  # version 1 did not say it here
        if reason := unreadable(version):
            raise VersionError(f"it has {reason}")
        return cls(identity, identity.pop("tally"), data[start + size :], version)


def example_hash(example_id: str) -> int:
    """Returns the 64 bits that stand for an example's id in the index."""
    hashed = hashlib.blake2b(example_id.encode("utf-8", "surrogatepass"), digest_size=8)
    return int.from_bytes(hashed.digest(), "little")


def stored_record(record: Record) -> bytes:
    """Returns a row as it stands in the file."""
    example = record.example_id.encode("utf-8", "surrogatepass")
    head = ROW.pack(record.key, record.digest, record.num_tokens, len(example))
    content = b"".join((head, example, record.body))
    return RECORD.pack(MARKER, len(content), zlib.crc32(content)) + content
