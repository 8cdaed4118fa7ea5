"""What the library of safetensors writes is read, part by part, and the reverse."""

import json
import time

import ml_dtypes
import numpy as np
import pytest

from tlm_jax.checkpoints.formats import safetensors_files as files
from tlm_jax.errors import UserError
from tlm_jax.lazy import blocks, in_memory

ARRAYS = {
    "kernel": np.arange(24, dtype=np.float32).reshape(4, 6),
    "half": np.linspace(-3, 3, 10).astype(ml_dtypes.bfloat16).reshape(5, 2),
    "counts": np.arange(-3, 4, dtype=np.int64),
    "scalar": np.array(2.5, np.float16),
    "cube": np.arange(24, dtype=np.int8).reshape(2, 3, 4),
    "empty": np.zeros((0, 4), np.float32),
}


def _write(path, arrays=ARRAYS, block_bytes=16):
    lazies = {name: in_memory(array) for name, array in arrays.items()}
    with files.SafetensorsWriter(path, lazies) as writer:
        for name in reversed(list(lazies)):  # any order
            for index in blocks(lazies[name], block_bytes):
                writer.write(name, index, lazies[name][index])
    return path


def test_what_is_written_is_read(tmp_path):
    found = files.open_safetensors(_write(tmp_path / "a.safetensors"))
    assert list(found) == list(ARRAYS)
    for name, array in ARRAYS.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name].read(), array)
    np.testing.assert_array_equal(found["cube"][1:2, 0:2, 3:4], ARRAYS["cube"][1:2, 0:2, 3:4])
    np.testing.assert_array_equal(found["kernel"][:, 2:5], ARRAYS["kernel"][:, 2:5])


def test_the_formats_own_library_reads_and_writes_the_same(tmp_path):
    safetensors = pytest.importorskip("safetensors.numpy", reason="safetensors is not installed")
    arrays = {name: x for name, x in ARRAYS.items() if x.dtype != ml_dtypes.bfloat16 and x.size}
    theirs = safetensors.load_file(_write(tmp_path / "ours.safetensors", arrays))
    for name, array in arrays.items():
        np.testing.assert_array_equal(theirs[name], array)
    safetensors.save_file(arrays, tmp_path / "theirs.safetensors", {"format": "pt"})
    found = files.open_safetensors(tmp_path / "theirs.safetensors")
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name].read(), array)


def test_arrays_are_divided_into_files_in_order():
    arrays = {name: in_memory(np.zeros(size, np.int8)) for name, size in zip("abcd", (4, 5, 20, 1))}
    assert files.shards(arrays, 10) == [["a", "b"], ["c"], ["d"]]
    assert files.shards(arrays, 100) == [["a", "b", "c", "d"]]
    assert files.shard_names(1) == ["model.safetensors"]
    assert files.shard_names(2)[1] == "model-00002-of-00002.safetensors"
    index = json.loads(files.index_json(arrays, [["a", "b"], ["c"], ["d"]]))
    assert index["metadata"] == {"total_size": 30}
    assert index["weight_map"]["c"] == "model-00002-of-00003.safetensors"


def _with_header(content, change):
    end = 8 + int.from_bytes(content[:8], "little")
    text = change(content[8:end].rstrip())
    return len(text).to_bytes(8, "little") + text + content[end:]


def _sharing_bytes(text):
    header = json.loads(text)
    first = header["kernel"]
    return json.dumps(header | {"other": first}).encode()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda content: content[:-1], r"cut short: 'empty' ends at byte|cut short: '\w+' ends"),
        (
            lambda content: content[:40],
            r"cut short: its header ends at byte [\d,]+, the file at 40",
        ),
        (lambda content: content[:4], r"no safetensors file|cut short"),
        (lambda content: b"PK\x03\x04more" + content[8:], r"no safetensors file: its header would"),
        (lambda content: content[:8] + b"[" + content[9:], r"its header is not JSON"),
        (
            lambda content: content.replace(b'"F32"', b'"F99"', 1),
            r"entry for 'kernel'.*expected shape, data_offsets, and a dtype among",
        ),
        (
            lambda content: content.replace(b'"shape":[4,6]', b'"shape":[4,7]', 1),
            r"'kernel' has shape \[4, 7\] of float32 but 96 bytes",
        ),
        (
            lambda content: _with_header(
                content, lambda text: text.replace(b'"shape":[4,6]', b'"shape":"24"', 1)
            ),
            r"entry for 'kernel' is .*expected shape, data_offsets, and a dtype among",
        ),
        (
            lambda content: _with_header(
                content, lambda text: text.replace(b'"shape":[4,6]', b'"shape":[-4,-6]', 1)
            ),
            r"entry for 'kernel' is .*expected shape, data_offsets, and a dtype among",
        ),
        (
            lambda content: _with_header(content, lambda text: text[:-1] + b',"kernel":{}}'),
            r"damaged: its header has 'kernel' twice",
        ),
        (
            lambda content: _with_header(content, lambda text: b"[" * 100_000),
            r"no safetensors file: its header is not JSON",
        ),
        (
            lambda content: _with_header(content, _sharing_bytes),
            r"is damaged: tensor '\w+' begins at byte 0 of the data, where the one before ends at",
        ),
    ],
)
def test_damage_is_named(tmp_path, damage, message):
    path = _write(tmp_path / "a.safetensors")
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match=message) as error:
        files.open_safetensors(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_name_that_comes_twice_among_many_is_found_at_once(tmp_path):
    """Counting every name took a minute."""
    entry = b'{"dtype":"F32","shape":[0],"data_offsets":[0,0]}'
    entries = b",".join(b'"t%d":%s' % (n, entry) for n in range(100_000))
    header = b"{" + entries + b',"t99999":' + entry + b"}"
    path = tmp_path / "a.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    start = time.perf_counter()
    with pytest.raises(UserError, match=r"its header has 't99999' twice"):
        files.open_safetensors(path)
    assert time.perf_counter() - start < 20


def test_a_file_that_shrinks_while_it_is_read_is_an_error(tmp_path):
    path = _write(tmp_path / "a.safetensors")
    found = files.open_safetensors(path)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(UserError, match="has become shorter"):
        found["cube"].read()
