"""Opens any GGUF file: its metadata, and its tensors as lazy arrays, de-quantised as they are read.

The `gguf` package de-quantises. Its reader is not used: it makes an array of every value in the
header, maps the file (whose pages count as memory used), and cannot tell a file that is cut short
from one of another kind.

Format (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md), little endian: "GGUF", version,
number of tensors, number of metadata entries; the entries (name, type, value); for each tensor its
name, dimensions from the innermost out, type, and offset; then the tensors, aligned.
"""

from __future__ import annotations

import functools
import math
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeVar

import ml_dtypes
import numpy as np

from tlm_jax.errors import UserError
from tlm_jax.lazy import Index, LazyArray, Stored

_T = TypeVar("_T")
_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_SCALARS = {
    0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"
}  # fmt: skip
_STRING, _ARRAY = 8, 9
_PLAIN_DTYPES = {
    "F64": np.dtype(np.float64),
    "F32": np.dtype(np.float32),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(ml_dtypes.bfloat16),
}
_ALIGNMENT_BYTES = 32
_MAX_DIMENSIONS = 4


class GgufFile(NamedTuple):
    """What a file says and holds.

    Attributes:
      metadata: by name, such as "llama.block_count".
      arrays: tensors by name, outermost axis first; float32 where they are quantised.
    """

    metadata: dict[str, Any]
    arrays: dict[str, LazyArray]


class _Encoding(NamedTuple):
    """How a tensor's values are stored: in blocks along the innermost axis."""

    name: str
    block_items: int
    block_bytes: int


def is_gguf(path: Path) -> bool:
    """Returns whether a file begins as GGUF files do."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(_MAGIC)) == _MAGIC


def open_gguf_file(path: Path) -> GgufFile:
    """Reads the header of a file; tensors are read later.

    Raises:
      UserError: it is no GGUF file, is cut short, names something twice, or has a tensor of an
        unknown type.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        header = _Header(file, path, size)
        num_tensors, num_entries = header.start()
        metadata = header.distinct((header.entry() for _ in range(num_entries)), "entry")
        tensors = header.distinct((header.tensor() for _ in range(num_tensors)), "tensor")
        end = file.tell()
    alignment = metadata.get("general.alignment", _ALIGNMENT_BYTES)
    if type(alignment) is not int or alignment < 1:
        raise UserError(f"{path} is damaged: general.alignment is {alignment!r}; get it again")
    start = -(-end // alignment) * alignment
    arrays: dict[str, LazyArray] = {}
    for name, (shape, type_number, offset) in tensors.items():
        encoding = _encoding(type_number, name, path)
        arrays[name] = _lazy(path, size, name, shape, encoding, start + offset)
    return GgufFile(metadata, arrays)


class _Header:
    """Reads the parts of the header in the order they come."""

    def __init__(self, file: BinaryIO, path: Path, size: int):
        self._file, self._path, self._size = file, path, size

    def start(self) -> tuple[int, int]:
        """Returns how many tensors and how many metadata entries follow."""
        if self._bytes(len(_MAGIC)) != _MAGIC:
            raise UserError(f"{self._path} is no GGUF file: it does not begin with 'GGUF'")
        version = self._scalar("I")
        if version not in _VERSIONS:
            raise UserError(
                f"{self._path} has version {version} of the GGUF format, or is of a big-endian "
                f"machine; expected version {' or '.join(map(str, _VERSIONS))}: get a newer file"
            )
        return self._scalar("Q"), self._scalar("Q")

    def entry(self) -> tuple[str, Any]:
        """Returns name and value of a metadata entry."""
        return self._string(), self._value(self._scalar("I"))

    def distinct(self, pairs: Iterable[tuple[str, _T]], what: str) -> dict[str, _T]:
        """Returns pairs of name and content by name, and refuses a name that comes twice."""
        found: dict[str, _T] = {}
        for name, content in pairs:
            if name in found:
                raise self._damaged(f"its header has the {what} {name!r} twice")
            found[name] = content
        return found

    def tensor(self) -> tuple[str, tuple[tuple[int, ...], int, int]]:
        """Returns name, and shape, number of the type and offset of a tensor."""
        name = self._string()
        dimensions = self._scalar("I")
        if dimensions > _MAX_DIMENSIONS:
            raise self._damaged(f"tensor {name!r} would have {dimensions} dimensions")
        shape = tuple(self._scalar("Q") for _ in range(dimensions))
        return name, (shape[::-1], self._scalar("I"), self._scalar("Q"))

    def _value(self, kind: int) -> Any:
        if kind in _SCALARS:
            return self._scalar(_SCALARS[kind])
        if kind == _STRING:
            return self._string()
        if kind != _ARRAY:
            raise self._damaged(f"it has a value of the unknown type {kind}")
        kind, length = self._scalar("I"), self._scalar("Q")
        if kind == _ARRAY:
            raise self._damaged("it has an array of arrays")
        if kind in _SCALARS:
            code = _SCALARS[kind]
            return list(struct.unpack(f"<{length}{code}", self._bytes(length * _size(code))))
        return [self._value(kind) for _ in range(length)]

    def _string(self) -> str:
        content = self._bytes(self._scalar("Q"))
        try:
            return content.decode("utf-8")
        except UnicodeDecodeError:
            raise self._damaged(
                f"a string before byte {self._file.tell():,} is not UTF-8"
            ) from None

    def _scalar(self, code: str) -> Any:
        return struct.unpack(f"<{code}", self._bytes(_size(code)))[0]

    def _bytes(self, count: int) -> bytes:
        position = self._file.tell()
        if position + count > self._size:
            raise UserError(
                f"{self._path} is cut short: its header needs byte {position + count:,}, the file "
                f"ends at {self._size:,}; get it again"
            )
        return self._file.read(count)

    def _damaged(self, what: str) -> UserError:
        return UserError(f"{self._path} is damaged: {what}; get it again")


@functools.cache
def _size(code: str) -> int:
    return struct.calcsize(f"<{code}")


def _encoding(number: int, tensor: str, path: Path) -> _Encoding:
    from gguf import constants

    known = {kind.value: kind for kind in constants.GGML_QUANT_SIZES}
    kind = known.get(number)
    if kind is not None:
        encoding = _Encoding(kind.name, *constants.GGML_QUANT_SIZES[kind])
        if encoding.name in _PLAIN_DTYPES or _can_dequantise(encoding):
            return encoding
    raise UserError(
        f"{path}: tensor {tensor!r} is quantised as {number if kind is None else kind.name}, which "
        "the installed gguf package cannot read; update gguf, or get the model in another "
        "quantisation such as Q8_0, Q4_K or F16"
    )


@functools.cache
def _can_dequantise(encoding: _Encoding) -> bool:
    try:
        _dequantised(np.zeros((1, encoding.block_bytes), np.uint8), encoding)
    except NotImplementedError:
        return False
    return True


def _dequantised(rows: np.ndarray, encoding: _Encoding) -> np.ndarray:
    from gguf import constants, quants

    return quants.dequantize(rows, constants.GGMLQuantizationType[encoding.name])


def _lazy(
    path: Path, size: int, name: str, shape: tuple[int, ...], encoding: _Encoding, start: int
) -> LazyArray:
    inner = shape[-1] if shape else 1
    if inner % encoding.block_items:
        raise UserError(
            f"{path} is damaged: rows of tensor {name!r} have {inner} values, but {encoding.name} "
            f"has blocks of {encoding.block_items}; get it again"
        )
    row_bytes = inner // encoding.block_items * encoding.block_bytes
    end = start + row_bytes * math.prod(shape[:-1])
    if end > size:
        raise UserError(
            f"{path} is cut short: tensor {name!r} ends at byte {end:,}, the file at {size:,}; get "
            "it again"
        )
    dtype = _PLAIN_DTYPES.get(encoding.name)
    # The first of several outer axes is read by parts, the others whole: weights have one or two.
    outer = shape[:-1]
    entry_rows = math.prod(outer[1:])

    def read(index: Index) -> np.ndarray:
        wanted = index[0] if outer else slice(0, 1)
        count = (wanted.stop - wanted.start) * entry_rows
        first = start + wanted.start * entry_rows * row_bytes
        found = np.fromfile(path, np.uint8, count * row_bytes, offset=first)
        if found.size != count * row_bytes:
            raise UserError(f"{path} has become shorter while it was read")
        last = index[-1] if shape else slice(0, 1)
        # Only blocks with wanted values are expanded.
        blocks = slice(last.start // encoding.block_items, -(-last.stop // encoding.block_items))
        found = found.reshape(count, inner // encoding.block_items, encoding.block_bytes)
        found = np.ascontiguousarray(found[:, blocks]).reshape(count, -1)
        values = _dequantised(found, encoding) if dtype is None else found.view(dtype)
        cut = last.start - blocks.start * encoding.block_items
        values = values[:, cut : cut + last.stop - last.start]
        if not outer:
            return values.reshape(-1) if shape else values.reshape(())
        return values.reshape(-1, *outer[1:], values.shape[-1])[(slice(None), *index[1:-1])]

    return Stored(shape, np.dtype(np.float32) if dtype is None else dtype, read)
