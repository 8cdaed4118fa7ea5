"""Fingerprints of models: a hash of the content, the same wherever it lies."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from tlm_jax.checkpoints.pretrained import Pretrained
from tlm_jax.system.file_digest import file_digest


def model_fingerprint(source: Pretrained) -> str:
    """Returns 16 hex digits of format, training step, and every byte of the model's files.

    A model that is trained again has files of the same names and sizes, so the content counts.
    Checksums that opening the model has compared stand for it; other files are read, about a second
    a gigabyte, and not again while they are as they were (`file_digest`).

    Raises:
      UserError: a file cannot be read.
    """
    hashed = hashlib.sha256(f"{source.source_format} {source.step}".encode())
    for name, digest in sorted((path.name, _digest(source, path)) for path in source.files):
        hashed.update(json.dumps([name, digest]).encode())
    return hashed.hexdigest()[:16]


def _digest(source: Pretrained, path: Path) -> str:
    return source.checksums.get(path) or file_digest(path)
