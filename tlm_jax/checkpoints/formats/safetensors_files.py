"""Reads and writes safetensors files part by part, without holding a file or a whole tensor.

The `safetensors` package writes from a complete dictionary in memory and reads through a mapped
file, whose pages count as memory used; a model larger than the machine's memory needs neither.

Format (https://github.com/huggingface/safetensors): eight bytes with the length of the header
(little endian), the header as JSON `{name: {dtype, shape, data_offsets}}`, the arrays in row-major
order one after the other.
"""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from tlm_jax.errors import UserError
from tlm_jax.lazy import Index, LazyArray, Stored
from tlm_jax.system import git_lfs

_DTYPES = {
    "F64": np.dtype(np.float64),
    "F32": np.dtype(np.float32),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "F8_E4M3": np.dtype(ml_dtypes.float8_e4m3fn),
    "F8_E5M2": np.dtype(ml_dtypes.float8_e5m2),
    "F8_E8M0": np.dtype(ml_dtypes.float8_e8m0fnu),
    "I64": np.dtype(np.int64),
    "I32": np.dtype(np.int32),
    "I16": np.dtype(np.int16),
    "I8": np.dtype(np.int8),
    "U64": np.dtype(np.uint64),
    "U32": np.dtype(np.uint32),
    "U16": np.dtype(np.uint16),
    "U8": np.dtype(np.uint8),
    "BOOL": np.dtype(np.bool_),
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
_MAX_HEADER_BYTES = 100_000_000
_ALIGNMENT_BYTES = 8
_STRIP_BYTES = 8 * 2**20


def open_safetensors(path: Path) -> dict[str, LazyArray]:
    """Returns the arrays of one file by name; only its header is read now.

    Raises:
      UserError: the file is not of this format (a header that is not JSON, or of an impossible
        length); it is cut short; an entry of its header is not shape, type and place, or names a
        type that is not known, or stands there twice; a tensor has another number of bytes than
        its shape and type need; tensors share bytes or leave some between them. Reading a part
        raises one if the file has become shorter.
    """
    header, start = _read_header(path)
    size = path.stat().st_size
    arrays: dict[str, LazyArray] = {}
    places: list[tuple[int, int, str]] = []
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        shape, dtype, first, last = _described(path, name, entry)
        if last - first != math.prod(shape) * dtype.itemsize:
            raise UserError(
                f"{path}: {name!r} has shape {list(shape)} of {dtype} but {last - first:,} bytes; "
                "the file is damaged, get it again"
            )
        if start + last > size:
            raise UserError(
                f"{path} is cut short: {name!r} ends at byte {start + last:,}, the file at "
                f"{size:,}; get it again"
            )
        places.append((first, last, name))
        arrays[name] = _stored(path, start + first, shape, dtype)
    _check_adjoining(path, places)
    return arrays


class SafetensorsWriter:
    """Writes one file whose arrays are known by shape and dtype from the start.

    Parts may come in any order. The file has its size from the beginning, so that a disk that is
    too small is found out then. A context manager, at whose end the content is on disk.
    """

    def __init__(self, path: Path, arrays: Mapping[str, LazyArray]):
        """Writes the header.

        Args:
          path: the file to make.
          arrays: name to an array of the shape and dtype to be written.
        """
        header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
        offset = 0
        for name, array in arrays.items():
            header[name] = {
                "dtype": _NAMES[array.dtype],
                "shape": list(array.shape),
                "data_offsets": [offset, offset + array.nbytes],
            }
            offset += array.nbytes
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % _ALIGNMENT_BYTES)
        self._start = 8 + len(text)
        self._header = header
        self._file = path.open("w+b", buffering=0)
        try:
            self._file.write(len(text).to_bytes(8, "little") + text)
            if offset:
                _reserve(self._file.fileno(), self._start, offset)
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> SafetensorsWriter:
        return self

    def __exit__(self, kind: object, *unused: object) -> None:
        if kind is None:
            os.fsync(self._file.fileno())
        self._file.close()

    def write(self, name: str, index: Index, part: np.ndarray) -> None:
        """Writes whole entries of the first axis of an array.

        Args:
          name: which array.
          index: empty for all of it, or one slice of its first axis.
          part: its values.
        """
        entry = self._header[name]
        row_bytes = math.prod(entry["shape"][1:]) * part.dtype.itemsize
        first = index[0].start * row_bytes if index else 0
        position = self._start + entry["data_offsets"][0] + first
        content = np.ascontiguousarray(part).reshape(-1).view(np.uint8).data
        while content:
            written = os.pwrite(self._file.fileno(), content, position)
            content, position = content[written:], position + written


def shards(arrays: Mapping[str, LazyArray], shard_bytes: int) -> list[list[str]]:
    """Divides names, in order, into files of at most `shard_bytes`, or one larger array each."""
    divided: list[list[str]] = []
    room = 0
    for name, array in arrays.items():
        if not divided or array.nbytes > room:
            divided.append([])
            room = shard_bytes
        divided[-1].append(name)
        room -= array.nbytes
    return divided


def shard_names(count: int) -> list[str]:
    """Returns the file names that transformers expects."""
    if count == 1:
        return ["model.safetensors"]
    return [f"model-{number + 1:05d}-of-{count:05d}.safetensors" for number in range(count)]


def index_json(arrays: Mapping[str, LazyArray], divided: Iterable[list[str]]) -> str:
    """Returns the text of `model.safetensors.index.json`."""
    divided = list(divided)
    names = shard_names(len(divided))
    content = {
        "metadata": {"total_size": sum(array.nbytes for array in arrays.values())},
        "weight_map": {name: file for file, group in zip(names, divided) for name in group},
    }
    return json.dumps(content, indent=2, sort_keys=True) + "\n"


def _reserve(descriptor: int, start: int, size: int) -> None:
    """Takes the room on disk now, where the system can (macOS cannot)."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, start, size)
    else:
        os.ftruncate(descriptor, start + size)


def _read_header(path: Path) -> tuple[dict[str, Any], int]:
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(git_lfs.START_BYTES)
        git_lfs.refuse_pointer(start, str(path))
        length = int.from_bytes(start[:8], "little")
        file.seek(8)
        if not 2 <= length <= _MAX_HEADER_BYTES:
            raise UserError(
                f"{path} is no safetensors file: its header would have {length:,} bytes"
            )
        if 8 + length > size:
            raise UserError(
                f"{path} is cut short: its header ends at byte {8 + length:,}, the file at "
                f"{size:,}; get it again"
            )
        try:
            header = json.loads(file.read(length), object_pairs_hook=_without_repetition)
        except _Repeated as error:
            raise UserError(f"{path} is damaged: its header has {str(error)!r} twice") from None
        except (ValueError, RecursionError):
            header = None
    if not isinstance(header, dict):
        raise UserError(f"{path} is no safetensors file: its header is not JSON")
    return header, 8 + length


class _Repeated(Exception):
    """A name stands twice in an object of the header."""


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        counts = Counter(name for name, _ in pairs)
        raise _Repeated(next(name for name, count in counts.items() if count > 1))
    return result


def _described(path: Path, name: str, entry: Any) -> tuple[tuple[int, ...], np.dtype, int, int]:
    """Returns shape, type, and first and last byte of a tensor."""
    try:
        shape, (first, last) = tuple(entry["shape"]), entry["data_offsets"]
        if all(type(number) is int and number >= 0 for number in (*shape, first, last)):
            return shape, _DTYPES[entry["dtype"]], first, last
    except (KeyError, TypeError, ValueError):
        pass
    raise UserError(
        f"{path}: the header's entry for {name!r} is {entry!r}; expected shape, data_offsets, "
        f"and a dtype among {', '.join(_DTYPES)}"
    )


def _check_adjoining(path: Path, places: list[tuple[int, int, str]]) -> None:
    """Refuses tensors that share bytes, and bytes between them: the format has neither."""
    end = 0
    for first, last, name in sorted(places):
        if first != end:
            raise UserError(
                f"{path} is damaged: tensor {name!r} begins at byte {first:,} of the data, "
                f"where the one before ends at {end:,}; get it again"
            )
        end = last


def _stored(path: Path, start: int, shape: tuple[int, ...], dtype: np.dtype) -> LazyArray:
    row_items = math.prod(shape[1:])
    strip_rows = max(1, _STRIP_BYTES // max(1, row_items * dtype.itemsize))

    def read_rows(first: int, last: int) -> np.ndarray:
        nbytes = (last - first) * row_items * dtype.itemsize
        with path.open("rb", buffering=0) as file:
            offset = start + first * row_items * dtype.itemsize
            found = np.fromfile(file, np.uint8, nbytes, offset=offset)
        if found.size != nbytes:
            raise UserError(f"{path} has become shorter while it was read")
        return found.view(dtype).reshape(-1, *shape[1:])

    def read(index: Index) -> np.ndarray:
        """Reads whole rows, entries of the first axis, and cuts the others in memory."""
        if not index:
            return read_rows(0, 1).reshape(())
        rows, rest = index[0], index[1:]
        if all(part == slice(0, size) for part, size in zip(rest, shape[1:])):
            return read_rows(rows.start, rows.stop)
        # In strips, so that rows much longer than their part are not all held at once.
        result = np.empty([part.stop - part.start for part in index], dtype)
        for first in range(rows.start, rows.stop, strip_rows):
            last = min(rows.stop, first + strip_rows)
            cut = read_rows(first, last)[(slice(None), *rest)]
            result[first - rows.start : last - rows.start] = cut
        return result

    return Stored(shape, dtype, read)
