"""Hashes of files, remembered between processes while the files are as they were."""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from pathlib import Path

from tlm_jax.errors import UserError, system_reason
from tlm_jax.system.home import cache_folder

_REMEMBERED_BYTES = 1 << 24
"""Smaller files are read as quickly as a note of them is found."""

_SETTLED_S = 2.0
"""A file that changed this short a time ago may change again without another time of change."""


def file_digest(path: Path) -> str:
    """Returns the SHA-256 of a file's content, in hex digits.

    That of a large file is noted below the user's cache folder, by the file's path, size, times of
    change and number on the disk: the next process does not read it again. Nothing is written
    beside the file, and without such a folder nothing is noted.

    Raises:
      UserError: it cannot be read.
    """
    try:
        stamp = _stamp(path)
        note = _note(path, stamp)
        known = None if note is None else _read(note)
        if known is not None:
            return known
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if note is not None and _stamp(path) == stamp:
            _write(note, digest)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({system_reason(error)}).") from error
    return digest


def _stamp(path: Path) -> tuple[int, ...]:
    found = path.stat()
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_dev


def _note(path: Path, stamp: tuple[int, ...]) -> Path | None:
    """Returns where a file's digest is noted; None where it is not to be."""
    size, modified_ns, changed_ns, *_ = stamp
    age_s = time.time() - max(modified_ns, changed_ns) / 1e9
    folder = cache_folder("digests")
    if folder is None or size < _REMEMBERED_BYTES or age_s < _SETTLED_S:
        return None
    key = repr((str(path.absolute()), *stamp))
    return folder / hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()[:32]


def _read(note: Path) -> str | None:
    """Returns what was noted; None where nothing was, or where it is not whole."""
    try:
        written = note.read_bytes()
    except OSError:
        return None
    whole = len(written) == 64 and not written.strip(b"0123456789abcdef")
    return written.decode("ascii") if whole else None


def _write(note: Path, digest: str) -> None:
    """Notes a digest, whole or not at all; a cache that cannot be written is done without."""
    with contextlib.suppress(OSError):
        note.parent.mkdir(parents=True, exist_ok=True)
        partial = note.with_name(f"{note.name}.{os.getpid()}")
        partial.write_text(digest, encoding="ascii")
        partial.replace(note)
