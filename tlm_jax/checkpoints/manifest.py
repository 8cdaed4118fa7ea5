"""Seals a checkpoint with a list of its files and arrays, by which damage is found later.

The manifest is written after all other files and before the checkpoint gets its final name, so
a directory named by a step number without a sound manifest has been damaged.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import json
import os
import zlib
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

FILE_NAME = "manifest.json"
FORMAT = 1
_BLOCK_BYTES = 1 << 22
_THREADS = 4


class Damaged(Exception):
    """A checkpoint whose files are not what was written; the message says which and how."""


@dataclasses.dataclass(frozen=True)
class ArraySpec:
    """Shape and dtype of one saved array."""

    shape: tuple[int, ...]
    dtype: str


@dataclasses.dataclass(frozen=True)
class FileSpec:
    """Size of one file, and its CRC-32 where content is checked."""

    size_bytes: int
    crc32: int | None


@dataclasses.dataclass(frozen=True)
class Manifest:
    """What a sealed checkpoint holds.

    Attributes:
      step: training steps taken.
      version: the tlm_jax that wrote it.
      arrays: by '/'-joined path within the state.
      files: by path relative to the checkpoint.
      score: what `KeepPolicy.best` ranks by, if the run gave one.
      base: fields of the `BaseModel` whose adapters these are; None: the parameters are a model's.
      loss_normalization: what the loss was divided by whose gradients the optimizer's state sums
        up, as `losses.reduction.canonical_normalization` spells it; None: not told.
      teacher: fields of the `TeacherModel` that the run learnt from; None: none was live, or it is
        not told.
    """

    step: int
    version: str
    arrays: Mapping[str, ArraySpec]
    files: Mapping[str, FileSpec]
    score: float | None
    base: Mapping[str, Any] | None = None
    loss_normalization: str | float | None = None
    teacher: Mapping[str, Any] | None = None


def seal(
    directory: Path,
    step: int,
    arrays: Mapping[str, ArraySpec],
    *,
    score: float | None,
    checksums: bool,
    base: Mapping[str, Any] | None = None,
    loss_normalization: str | float | None = None,
    teacher: Mapping[str, Any] | None = None,
) -> None:
    """Reads back every file under `directory` and writes the manifest, durably.

    Args:
      directory: a checkpoint whose other files are all written.
      step: training steps taken.
      arrays: what the state holds.
      score: see `Manifest`.
      checksums: whether to read the files for their CRC-32, not only their sizes.
      base: see `Manifest`.
      loss_normalization: see `Manifest`.
      teacher: see `Manifest`.
    """
    names = sorted(
        path.relative_to(directory).as_posix()
        for path in directory.rglob("*")
        if path.is_file() and path.name != FILE_NAME
    )
    specs = file_specs([directory / name for name in names], checksums=checksums)
    content = {
        "format": FORMAT,
        "step": step,
        "tlm_jax": metadata.version("tlm_jax"),
        "score": score,
        "arrays": {name: [list(spec.shape), spec.dtype] for name, spec in arrays.items()},
        "files": {name: [spec.size_bytes, spec.crc32] for name, spec in zip(names, specs)},
        **({} if base is None else {"base": dict(base)}),
        **({} if loss_normalization is None else {"loss_normalization": loss_normalization}),
        **({} if teacher is None else {"teacher": dict(teacher)}),
    }
    partial = directory / (FILE_NAME + ".partial")
    with partial.open("w", encoding="utf-8") as file:
        json.dump({"crc32": _content_crc32(content), **content}, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    partial.rename(directory / FILE_NAME)
    sync_directory(directory)


def read(directory: Path) -> Manifest:
    """Returns the manifest of the checkpoint in `directory`.

    Raises:
      Damaged: it is missing or has been altered.
    """
    path = directory / FILE_NAME
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        recorded = content.pop("crc32")
    except FileNotFoundError:
        raise Damaged(f"{FILE_NAME} is missing") from None
    except (ValueError, AttributeError, KeyError, TypeError, OSError):
        raise Damaged(f"{FILE_NAME} cannot be read") from None
    if recorded != _content_crc32(content):
        raise Damaged(f"{FILE_NAME} has been altered")
    return Manifest(
        step=content["step"],
        version=content["tlm_jax"],
        arrays={
            name: ArraySpec(tuple(shape), dtype)
            for name, (shape, dtype) in content["arrays"].items()
        },
        files={name: FileSpec(size, crc32) for name, (size, crc32) in content["files"].items()},
        score=content["score"],
        base=content.get("base"),
        loss_normalization=content.get("loss_normalization"),
        teacher=content.get("teacher"),
    )


def verify(
    directory: Path, manifest: Manifest, *, contents: bool, share: tuple[int, int] = (0, 1)
) -> None:
    """Compares files with the manifest: presence and size always, contents if asked.

    Args:
      directory: the checkpoint.
      manifest: its manifest.
      contents: whether to read the files and compare their CRC-32.
      share: (i, n) checks the i-th of n equal shares of the files, so that n processes can divide
        the reading.

    Raises:
      Damaged: naming the first file, in the manifest's order, that differs.
    """
    names = sorted(manifest.files)[share[0] :: share[1]]
    for name in names:
        expected, path = manifest.files[name], directory / name
        if not path.is_file():
            raise Damaged(f"file {name} is missing")
        size = path.stat().st_size
        if size != expected.size_bytes:
            raise Damaged(f"file {name} has {size:,} bytes instead of {expected.size_bytes:,}")
    if contents:
        _verify_contents(directory, manifest, names)


def file_specs(paths: Sequence[Path], *, checksums: bool) -> list[FileSpec]:
    """Returns the size of every file, and its CRC-32 if asked for, read by several threads."""
    with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(lambda path: _file_spec(path, checksums), paths))


def sync_directory(directory: Path) -> None:
    """Makes renames inside `directory` survive a loss of power, where the file system can."""
    try:
        descriptor = os.open(directory, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    except OSError:
        pass  # Some network file systems refuse; the manifest's checksums still find a torn file.
    finally:
        os.close(descriptor)


def _verify_contents(directory: Path, manifest: Manifest, names: Sequence[str]) -> None:
    checked = [name for name in names if manifest.files[name].crc32 is not None]
    with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
        found = pool.map(lambda name: _file_crc32(directory / name), checked)
        for name, crc32 in zip(checked, found):
            if crc32 != manifest.files[name].crc32:
                raise Damaged(f"file {name} has been altered (its checksum differs)")


def _file_spec(path: Path, checksums: bool) -> FileSpec:
    return FileSpec(path.stat().st_size, _file_crc32(path) if checksums else None)


def _file_crc32(path: Path) -> int:
    crc32 = 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            crc32 = zlib.crc32(block, crc32)
    return crc32


def _content_crc32(content: Mapping[str, Any]) -> int:
    return zlib.crc32(json.dumps(content, sort_keys=True).encode())
