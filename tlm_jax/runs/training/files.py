"""The text files that a run leaves in MODEL_DIR beside its checkpoints and metrics."""

from __future__ import annotations

import os
from pathlib import Path

import jax

from tlm_jax.errors import UserError, system_reason
from tlm_jax.system.home import expanded


def open_model_dir(model_dir: str) -> Path:
    """Makes MODEL_DIR.

    Raises:
      UserError: it cannot be made or written to.
    """
    path = expanded(model_dir)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"MODEL_DIR {path} cannot be made: {system_reason(error)}") from error
    if not os.access(path, os.W_OK):
        raise UserError(f"MODEL_DIR {path} is not writable; choose another or change its mode")
    return path


def make_folder(path: Path) -> None:
    """Makes a folder below the output directory, on process 0 only.

    Raises:
      UserError: the disk is full or refuses.
    """
    if jax.process_index() == 0:
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"{path} cannot be made: {system_reason(error)}") from error


def write_text(path: Path, text: str) -> None:
    """As `write_bytes`, in UTF-8."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file whole or not at all; process 0 only.

    Raises:
      UserError: the disk is full or refuses.
    """
    if jax.process_index() != 0:
        return
    unfinished = path.with_name(path.name + ".unfinished")
    try:
        unfinished.write_bytes(content)
        unfinished.replace(path)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise UserError(f"{path} cannot be written: {system_reason(error)}") from error


def write_configuration(model_dir: Path, text: str) -> None:
    """Writes `config.gin`; an earlier run's different one stays as `config.gin.N`."""
    path = model_dir / "config.gin"
    if path.exists() and path.read_bytes() != text.encode("utf-8") and jax.process_index() == 0:
        ends = [other.suffix[1:] for other in model_dir.glob("config.gin.*")]
        last = max((int(end) for end in ends if end.isdecimal()), default=0)
        path.replace(path.with_name(f"config.gin.{last + 1}"))
    write_text(path, text)
