"""Opens files of text, plain or compressed; where they are read the content tells which."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from tlm_jax.errors import UserError
from tlm_jax.system import git_lfs

BYTE_ORDER_MARK = "\ufeff"

_GZIP, _BZIP2, _XZ, _ZSTD = b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd"
_MAGIC = {".gz": _GZIP, ".bz2": _BZIP2, ".xz": _XZ, ".zst": _ZSTD}
_NO_TEXT = {
    b"PK\x03\x04": "a ZIP archive: unpack it",
    b"PAR1": "a Parquet file: write it as JSON Lines",
    b"ARROW1": "an Arrow file: write it as JSON Lines",
    b"\xff\xfe": "text in UTF-16: save it as UTF-8",
    b"\xfe\xff": "text in UTF-16: save it as UTF-8",
}
_START_BYTES = max(git_lfs.START_BYTES, *map(len, (*_MAGIC.values(), *_NO_TEXT)))


@contextmanager
def open_text(path: Path, newline: str | None = None) -> Iterator[io.TextIOWrapper]:
    r"""Opens a file of UTF-8 to be read; a byte-order mark at its start is dropped.

    Args:
      path: compressed by gzip, bzip2, xz or zstd, whatever its name, or plain; a name that ends in
        .gz, .bz2, .xz or .zst promises that.
      newline: as `open` has it.

    Raises:
      UserError: it is a pointer of Git LFS, or another kind of file; or not compressed as its name
        says. Reading raises OSError, EOFError or UnicodeDecodeError where it is cut or damaged.
    """
    with (
        path.open("rb") as file,
        _decompressed(file, path) as content,
        io.TextIOWrapper(content, encoding="utf-8-sig", newline=newline) as text,
    ):
        try:
            yield text
        except (zlib.error, lzma.LZMAError) as error:
            raise OSError(str(error)) from error


@contextmanager
def written_text(path: Path) -> Iterator[TextIO]:
    """Opens a file of UTF-8 to be written, by gzip if its name ends in .gz.

    Equal text gives equal bytes.
    """
    if path.suffix == ".gz":
        # No time stamp and no name inside.
        with (
            path.open("wb") as raw,
            gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) as packed,
            io.TextIOWrapper(packed, encoding="utf-8", newline="\n") as text,
        ):
            yield text
    else:
        with path.open("w", encoding="utf-8", newline="\n") as text:
            yield text


def _decompressed(file: BinaryIO, path: Path) -> Any:
    start = file.read(_START_BYTES)
    file.seek(0)
    git_lfs.refuse_pointer(start, str(path))
    for magic, what in _NO_TEXT.items():
        if start.startswith(magic):
            raise UserError(f"{path} is {what}")
    promised = _MAGIC.get(path.suffix)
    if promised is not None and start and not start.startswith(promised):
        raise UserError(
            f"{path} is not compressed as its name says: it does not begin as {path.suffix} files "
            "do; rename it, or get it again"
        )
    if start.startswith(_GZIP):
        return gzip.GzipFile(fileobj=file)
    if start.startswith(_BZIP2):
        return bz2.BZ2File(file)
    if start.startswith(_XZ):
        return lzma.LZMAFile(file)
    if start.startswith(_ZSTD):
        import pyarrow

        return pyarrow.CompressedInputStream(pyarrow.PythonFile(file, mode="r"), "zstd")
    return file


def numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yields (number from 1, text) of the lines that are not blank, without byte-order marks.

    Files that were joined have such marks in the middle, too.

    Raises:
      UserError: as `open_text`. Reading raises what is said there.
    """
    with open_text(path) as lines:
        for number, line in enumerate(lines, start=1):
            text = line.removeprefix(BYTE_ORDER_MARK)
            if text.strip():
                yield number, text
