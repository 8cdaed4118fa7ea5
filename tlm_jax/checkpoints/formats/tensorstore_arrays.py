"""Reads and writes arrays of TensorStore part by part.

A TensorStore file is divided into chunks, and a chunk is read whole. Where a read cuts out a part
of the chunks that it touches, these are kept while the array is in use, so that the layers of a
stacked parameter do not read them again and again; a read that uses them up keeps nothing. An array
stored as a single chunk therefore needs about twice its size while that chunk is expanded.
"""

from __future__ import annotations

import collections
import itertools
import math
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tlm_jax.errors import UserError
from tlm_jax.lazy import Index, LazyArray, Stored

if TYPE_CHECKING:
    import tensorstore

DESCRIPTIONS = {"zarr": ".zarray", "zarr3": "zarr.json"}
"""TensorStore's drivers, and the file that describes an array of each."""

_IN_USE_BYTES = 256 * 2**20
_USED_UP = 1.5
"""A read of less than 1/1.5 of the chunks that it expands will be followed by another of them."""
_EXPANDING_BYTES = 64 * 2**20
_BOOKKEEPING_BYTES = 2**20
_COMPRESSORS: dict[str, dict[str, Any] | None] = {
    "none": None,
    "gzip": {"id": "gzip", "level": 1},
    "zstd": {"id": "zstd", "level": 1},
}


def open_array(directory: Path, *, complete: bool | None = None) -> LazyArray:
    """Returns the array of one zarr directory (version 2 or 3); only its description is read now.

    Args:
      directory: holds `.zarray` or `zarr.json`, and the chunks.
      complete: whether a chunk without a file is damage rather than equal to the fill value; if not
        given, it is where the description has no fill value, as ours and T5X's have none.

    Raises:
      UserError: there is no array, or its description cannot be read. Reading a part raises one if
        a chunk is damaged or missing.
    """
    return open_arrays({"": directory}, complete=complete)[""]


def open_arrays(
    directories: Mapping[str, Path], *, complete: bool | None = None
) -> dict[str, LazyArray]:
    """As `open_array`, of arrays that are read one after the other and so share their memory."""
    specs = {}
    for name, directory in directories.items():
        driver = next((d for d, f in DESCRIPTIONS.items() if (directory / f).is_file()), None)
        if driver is None:
            raise UserError(
                f"no array at {directory}: expected a zarr directory with .zarray or zarr.json; "
                "the checkpoint is incomplete, get it again"
            )
        specs[name] = {"driver": driver, "kvstore": file_store(directory)}
    return open_specs(specs, {name: str(d) for name, d in directories.items()}, complete)


def open_specs(
    specs: Mapping[str, dict[str, Any]], places: Mapping[str, str], complete: bool | None
) -> dict[str, LazyArray]:
    """As `open_arrays`, of arrays anywhere.

    Args:
      specs: TensorStore's specifications by name.
      places: what messages call each of them.
      complete: as in `open_array`.
    """
    futures = {name: _start_opening(spec, memory=0) for name, spec in specs.items()}
    stores: dict[str, tensorstore.TensorStore] = {}
    for name, future in futures.items():
        try:
            stores[name] = future.result()
        except ValueError as error:
            raise UserError(
                f"{places[name]}: no array can be read ({reason(error)}); the checkpoint is "
                "damaged or incomplete, get it again"
            ) from None
    in_use = _InUse(max([_IN_USE_BYTES, *map(_nbytes, stores.values())]))
    arrays: dict[str, LazyArray] = {}
    for name, store in stores.items():
        spec = dict(specs[name])
        spec["fill_missing_data_reads"] = not (store.fill_value is None or complete)
        arrays[name] = _stored(name, store, spec, in_use, places[name])
    return arrays


class ArrayWriter:
    """Writes one array part by part into a zarr directory."""

    def __init__(self, store: tensorstore.TensorStore):
        self._store = store

    def write(self, index: Index, part: np.ndarray) -> None:
        """Writes a part, which is on disk on return.

        Args:
          index: slices of the first axes; missing ones mean everything. A part that ends within a
            chunk is slower: the chunk is read and written again.
          part: its values.

        Raises:
          OSError: the disk is full or fails.
        """
        try:
            # On disk before the caller can change `part`: TensorStore needs no copy of it.
            target = self._store[tuple(index)]
            target.write(part, can_reference_source_data_indefinitely=True).result()
        except ValueError as error:
            raise OSError(reason(error)) from None


def create_array(
    directory: Path,
    shape: Sequence[int],
    dtype: np.dtype | type,
    chunks: Sequence[int] | None = None,
    *,
    compression: str = "none",
) -> ArrayWriter:
    """Makes a zarr directory (version 2) to be filled.

    Every chunk written has a file, also one that is all zeros, so that a lost one is found out.

    Args:
      directory: to be made; its parent may be missing too.
      shape: of the array.
      dtype: NumPy's, or one of ml_dtypes.
      chunks: shape of a chunk; by default `row_chunks`.
      compression: "none", "gzip" or "zstd".
    """
    import tensorstore as ts

    dtype = np.dtype(dtype)
    chunks = row_chunks(shape, dtype) if chunks is None else chunks
    spec = {
        "driver": "zarr",
        "kvstore": file_store(directory),
        "dtype": dtype.name,
        "metadata": {
            "shape": list(shape),
            "chunks": [max(1, size) for size in chunks],
            "compressor": _COMPRESSORS[compression],
        },
        "store_data_equal_to_fill_value": True,
    }
    try:
        return ArrayWriter(ts.open(spec, create=True, delete_existing=False).result())
    except ValueError as error:
        raise OSError(reason(error)) from None


def row_chunks(
    shape: Sequence[int], dtype: np.dtype | type, chunk_bytes: int = 64 * 2**20
) -> list[int]:
    """Returns the shape of chunks that are runs of rows, which `lazy.blocks` of that size fills.

    Args:
      shape: of the array.
      dtype: of the array.
      chunk_bytes: at most, but for a row that is larger; T5X too writes 64 MiB.
    """
    if not shape:
        return []
    nbytes = math.prod(shape) * np.dtype(dtype).itemsize
    rows = max(1, chunk_bytes * shape[0] // max(nbytes, 1))
    return [min(rows, shape[0]), *shape[1:]]


def chunk_indices(shape: Sequence[int], chunks: Sequence[int]) -> Iterator[Index]:
    """Yields the index of every chunk of an array."""
    runs = [
        [slice(start, min(size, start + step)) for start in range(0, size, step)]
        for size, step in zip(shape, chunks)
    ]
    return itertools.product(*runs)


def file_store(directory: Path) -> dict[str, str]:
    """Returns TensorStore's specification of the files in a directory."""
    return {"driver": "file", "path": f"{directory.resolve()}/"}


def reason(error: Exception) -> str:
    """Returns TensorStore's message without the specification that it appends."""
    return str(error).split(" [", 1)[0].splitlines()[0]


class _InUse:
    """Keeps the arrays read last open, with what they have expanded, up to a number of bytes."""

    def __init__(self, limit: int):
        self._limit = limit
        self._open: collections.OrderedDict[str, tuple[int, Any]] = collections.OrderedDict()
        self._lock = threading.Lock()

    def get(self, name: str, spec: Mapping[str, Any], nbytes: int) -> tensorstore.TensorStore:
        """Returns an array with a memory of its own of `nbytes`; others give up theirs first."""
        with self._lock:
            if name in self._open and self._open[name][0] >= nbytes:
                self._open.move_to_end(name)
                return self._open[name][1]
            self._open.pop(name, None)
            self._make_room(nbytes)
            store = _start_opening(spec, memory=nbytes + _BOOKKEEPING_BYTES).result()
            self._open[name] = (nbytes, store)
            return store

    def make_room(self, nbytes: int) -> None:
        """Has arrays give up their memory, those read longest ago first, for a read of `nbytes`."""
        with self._lock:
            self._make_room(nbytes)

    def _make_room(self, nbytes: int) -> None:
        while self._open and sum(size for size, _ in self._open.values()) > self._limit - nbytes:
            self._open.popitem(last=False)


def _stored(
    name: str,
    store: tensorstore.TensorStore,
    spec: Mapping[str, Any],
    in_use: _InUse,
    place: str,
) -> LazyArray:
    shape, itemsize = tuple(store.shape), store.dtype.numpy_dtype.itemsize
    # None where there are no axes.
    chunks = [size or 1 for size in store.chunk_layout.read_chunk.shape or ()]

    def read(index: Index) -> np.ndarray:
        wanted = math.prod(part.stop - part.start for part in index) * itemsize
        expanded = _entries_in_chunks(index, shape, chunks) * itemsize
        try:
            if expanded <= wanted * _USED_UP:
                in_use.make_room(expanded)
                source = _start_opening(spec, memory=0).result()
            else:
                source = in_use.get(name, spec, expanded)
                _expand(source, index, chunks)
            return source[index].read().result()
        except ValueError as error:
            raise UserError(
                f"{place}: cannot be read ({reason(error)}); the checkpoint is damaged or "
                "incomplete, get it again"
            ) from None

    return Stored(shape, store.dtype.numpy_dtype, read)


def _expand(source: tensorstore.TensorStore, index: Index, chunks: Sequence[int]) -> None:
    """Brings the chunks that a part touches into memory, few at a time.

    Left to itself, TensorStore holds all of them compressed before the first is expanded.
    """
    grid = itertools.product(*(range(p.start // c * c, p.stop, c) for p, c in zip(index, chunks)))
    chunk_bytes = math.prod(chunks) * source.dtype.numpy_dtype.itemsize
    together = max(1, _EXPANDING_BYTES // chunk_bytes)
    while corners := list(itertools.islice(grid, together)):
        for future in [source[corner].read() for corner in corners]:
            future.result()


def _entries_in_chunks(index: Index, shape: Sequence[int], chunks: Sequence[int]) -> int:
    """Returns how many entries the chunks hold that a part touches."""
    return math.prod(
        min(size, -(-part.stop // chunk) * chunk) - part.start // chunk * chunk
        for part, size, chunk in zip(index, shape, chunks)
    )


def _start_opening(spec: Mapping[str, Any], *, memory: int) -> Any:
    """Starts opening an array for reading, with room for expanded chunks of `memory` bytes."""
    import tensorstore as ts

    context = ts.Context({"cache_pool": {"total_bytes_limit": memory}})
    return ts.open({**spec, "recheck_cached_data": "open"}, read=True, context=context)


def _nbytes(store: tensorstore.TensorStore) -> int:
    return math.prod(store.shape) * store.dtype.numpy_dtype.itemsize
