"""Parts of TensorStore arrays are what TensorStore or Orbax wrote, or an error names the loss."""

import shutil
import subprocess
import sys

import ml_dtypes
import numpy as np
import pytest
import tensorstore as ts

from tlm_jax import lazy
from tlm_jax.checkpoints.formats import tensorstore_arrays
from tlm_jax.checkpoints.formats.tensorstore_arrays import (
    create_array,
    open_array,
    open_arrays,
    row_chunks,
)
from tlm_jax.errors import UserError


def _write(directory, array, *, driver="zarr", chunks=None, **metadata):
    """Writes an array with TensorStore itself."""
    spec = {"driver": driver, "kvstore": {"driver": "file", "path": f"{directory}/"}}
    if driver == "zarr":
        metadata |= {"chunks": list(chunks or array.shape), "dtype": array.dtype.str}
        spec |= {"metadata": {"shape": list(array.shape), **metadata}}
    else:
        grid = {"name": "regular", "configuration": {"chunk_shape": list(chunks or array.shape)}}
        spec |= {
            "metadata": {
                "shape": list(array.shape),
                "data_type": array.dtype.name,
                "chunk_grid": grid,
                **metadata,
            }
        }
    ts.open(spec, create=True).result().write(array).result()


@pytest.mark.parametrize("dtype", [np.float32, ml_dtypes.bfloat16, np.int32])
@pytest.mark.parametrize("compression", ["none", "gzip", "zstd"])
@pytest.mark.parametrize("shape", [(9, 4), (), (0, 3), (5,), (3, 2, 2)])
def test_what_is_written_in_blocks_is_read_again(tmp_path, dtype, compression, shape):
    array = np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(dtype)
    writer = create_array(
        tmp_path / "x", shape, dtype, row_chunks(shape, dtype, 32), compression=compression
    )
    for index in lazy.blocks(lazy.in_memory(array), 32):
        writer.write(index, np.asarray(array[index]))
    found = open_array(tmp_path / "x")
    assert (found.shape, found.dtype) == (shape, np.dtype(dtype))
    np.testing.assert_array_equal(found.read(), array)
    part = tuple(slice(1, max(1, size - 1)) for size in shape)
    np.testing.assert_array_equal(found[part], array[part])


def test_a_block_of_rows_fills_a_chunk(tmp_path):
    array = np.ones((10, 3), np.float32)
    chunks = row_chunks(array.shape, array.dtype, 36)
    assert chunks == [3, 3]
    sizes = [index[0].stop - index[0].start for index in lazy.blocks(lazy.in_memory(array), 36)]
    assert sizes == [3, 3, 3, 1]
    # A row is never divided.
    assert row_chunks((4, 100), np.float32, 8) == [1, 100]


def test_chunks_of_zeros_have_files_too(tmp_path):
    create_array(tmp_path / "x", (4,), np.float32, (2,)).write((), np.zeros(4, np.float32))
    assert sorted(path.name for path in (tmp_path / "x").iterdir()) == [".zarray", "0", "1"]


@pytest.mark.parametrize("compressor", [None, {"id": "gzip", "level": 1}, {"id": "blosc"}])
def test_reads_what_tensorstore_wrote(tmp_path, compressor):
    array = np.random.default_rng(0).normal(size=(6, 5, 4)).astype(np.float32)
    _write(tmp_path / "x", array, chunks=(2, 3, 4), compressor=compressor)
    np.testing.assert_array_equal(open_array(tmp_path / "x")[1:5, 2:4, 1:2], array[1:5, 2:4, 1:2])


def test_reads_zarr_version_3(tmp_path):
    array = np.random.default_rng(0).normal(size=(6, 5)).astype(np.float32)
    _write(tmp_path / "x", array, driver="zarr3", chunks=(2, 3))
    np.testing.assert_array_equal(open_array(tmp_path / "x")[1:5, 2:4], array[1:5, 2:4])


def test_a_chunk_is_expanded_once_while_its_array_is_in_use(tmp_path, monkeypatch):
    """Seen by taking the file away between two reads."""
    monkeypatch.setattr(tensorstore_arrays, "_IN_USE_BYTES", 0)
    array = np.random.default_rng(0).normal(size=(8, 6, 8)).astype(np.float32)
    for name in "ab":
        create_array(tmp_path / name, array.shape, array.dtype).write((), array)
    arrays = open_arrays({name: tmp_path / name for name in "ab"})
    np.testing.assert_array_equal(arrays["a"][:, 0:1], array[:, 0:1])
    (tmp_path / "a" / "0.0.0").unlink()
    for layer in range(1, 6):
        here = slice(layer, layer + 1)
        np.testing.assert_array_equal(arrays["a"][:, here], array[:, here])
    # Another array takes the memory.
    np.testing.assert_array_equal(arrays["b"][:, 0:1], array[:, 0:1])
    with pytest.raises(UserError, match="is missing"):
        arrays["a"][:, 0:1]


def test_a_read_that_uses_its_chunks_up_keeps_nothing(tmp_path):
    """Seen by taking the file away between two reads, as above."""
    array = np.random.default_rng(0).normal(size=(8, 6, 8)).astype(np.float32)
    create_array(tmp_path / "x", array.shape, array.dtype, (8, 1, 4)).write((), array)
    stored = open_array(tmp_path / "x")
    for index in ((slice(None), slice(2, 3)), (slice(0, 7), slice(2, 3), slice(0, 4))):
        np.testing.assert_array_equal(stored[index], array[index])
    (tmp_path / "x" / "0.2.0").unlink()
    with pytest.raises(UserError, match="is missing"):
        stored[:, 2:3]
    # Less than two thirds of a chunk: the rest will be asked for.
    np.testing.assert_array_equal(stored[0:4, 3:4, 0:4], array[0:4, 3:4, 0:4])
    (tmp_path / "x" / "0.3.0").unlink()
    np.testing.assert_array_equal(stored[4:8, 3:4, 0:4], array[4:8, 3:4, 0:4])


def test_a_missing_chunk_is_damage_where_there_is_no_fill_value(tmp_path):
    create_array(tmp_path / "x", (4, 2), np.float32, (2, 2)).write((), np.ones((4, 2), np.float32))
    (tmp_path / "x" / "1.0").unlink()
    array = open_array(tmp_path / "x")
    np.testing.assert_array_equal(array[0:2], np.ones((2, 2)))
    with pytest.raises(UserError, match=r"/x: cannot be read .*chunk \{1, 0\}.* is missing"):
        array.read()
    with pytest.raises(UserError, match="incomplete, get it again"):
        array[3:4]


def test_a_missing_chunk_is_the_fill_value_where_there_is_one(tmp_path):
    array = np.zeros((4, 2), np.float32)
    _write(tmp_path / "x", array, chunks=(2, 2), fill_value=0.0)
    assert not (tmp_path / "x" / "0.0").exists()
    np.testing.assert_array_equal(open_array(tmp_path / "x").read(), array)
    with pytest.raises(UserError, match="is missing"):
        open_array(tmp_path / "x", complete=True).read()


@pytest.mark.parametrize("compression", ["none", "gzip", "zstd"])
def test_a_truncated_chunk_is_damage(tmp_path, compression):
    array = np.random.default_rng(0).normal(size=100).astype(np.float32)
    create_array(tmp_path / "x", (100,), np.float32, compression=compression).write((), array)
    chunk = tmp_path / "x" / "0"
    chunk.write_bytes(chunk.read_bytes()[:200])
    with pytest.raises(UserError, match="/x: cannot be read") as raised:
        open_array(tmp_path / "x")[0:10]
    assert len(str(raised.value).splitlines()) == 1


def test_what_is_not_there_is_said(tmp_path):
    with pytest.raises(UserError, match=r"no array at .*nowhere: expected a zarr directory"):
        open_array(tmp_path / "nowhere")
    (tmp_path / ".zarray").write_text("{")
    with pytest.raises(UserError, match=r"no array can be read .*Invalid JSON"):
        open_array(tmp_path)


def test_a_full_disk_is_an_error_of_the_system(tmp_path):
    writer = create_array(tmp_path / "x", (4,), np.float32)
    shutil.rmtree(tmp_path / "x")
    (tmp_path / "x").write_text("in the way")
    with pytest.raises(OSError, match="x"):
        writer.write((), np.ones(4, np.float32))


READ_COLUMNS = """
import resource, sys
from pathlib import Path
from tlm_jax.checkpoints.formats.tensorstore_arrays import open_arrays
arrays = open_arrays({name: Path(sys.argv[1], name) for name in "abc"})
arrays["a"][0:1, 0:1]
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for array in arrays.values():
    for start in range(0, 4096, 256):
        array[:, start : start + 256]
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 / array.nbytes)
"""


def test_reading_columns_needs_the_memory_of_one_array(tmp_path, monkeypatch):
    """Three arrays of 64 MiB in chunks of 4 MiB, each read against the grain."""
    monkeypatch.setattr(tensorstore_arrays, "_IN_USE_BYTES", 0)
    block = np.random.default_rng(0).normal(size=(256, 4096)).astype(np.float32)
    for name in "abc":
        writer = create_array(tmp_path / name, (4096, 4096), np.float32, (256, 4096))
        for start in range(0, 4096, 256):
            writer.write((slice(start, start + 256),), block)
    code = READ_COLUMNS.replace(
        "arrays = ", "from tlm_jax.checkpoints.formats import tensorstore_arrays as t\n"
        "t._IN_USE_BYTES = 0\narrays = ", 1
    )  # fmt: skip
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert float(done.stdout) < 1.3
