"""What tells a model from others: a hash of its content, the same wherever it lies."""

from __future__ import annotations

import functools
import hashlib
import json
from pathlib import Path

from tlm_jax.checkpoints.pretrained import Pretrained
from tlm_jax.errors import UserError


def model_fingerprint(source: Pretrained) -> str:
    """Returns 16 hex digits of format, training step, and every byte of the model's files.

    A model that is trained again has files of the same names and sizes, so the content counts,
    about a second a gigabyte; a file that is as it was is not read again by this process.

    Raises:
      UserError: a file cannot be read.
    """
    hashed = hashlib.sha256(f"{source.source_format} {source.step}".encode())
    for name, digest in sorted((path.name, _digest_of(path)) for path in source.files):
        hashed.update(json.dumps([name, digest]).encode())
    return hashed.hexdigest()[:16]


def _digest_of(path: Path) -> str:
    try:
        found = path.stat()
        stamp = (found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)
        return _digest(path.absolute(), stamp)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error}).") from error


@functools.lru_cache(maxsize=4096)
def _digest(path: Path, stamp: tuple[int, ...]) -> str:
    del stamp  # of the file as it is: another one is read
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
