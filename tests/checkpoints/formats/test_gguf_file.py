# pyright: reportPossiblyUnboundVariable=false
"""GGUF files that the gguf package wrote are read part by part, or refused with what is wrong."""

import struct
import subprocess
import sys

import gguf
import numpy as np
import pytest
from gguf import GGMLQuantizationType as Kind

from tlm_jax.checkpoints.formats.gguf_file import is_gguf, open_gguf_file
from tlm_jax.errors import UserError


def _write(path, tensors, **metadata):
    """Writes `{name: (array, kind)}` with the gguf package."""
    writer = gguf.GGUFWriter(path, metadata.pop("architecture", "llama"))
    for name, (array, kind) in tensors.items():
        if kind in (Kind.F32, Kind.F16):
            writer.add_tensor(name, array)
        else:
            writer.add_tensor(name, gguf.quants.quantize(array, kind), raw_dtype=kind)
    for name, value in metadata.items():
        writer.add_array(name, value) if isinstance(value, list) else writer.add_uint32(name, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _normal(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


@pytest.fixture
def small(tmp_path):
    return _write(tmp_path / "small.gguf", {"first": (_normal(8, 64), Kind.Q8_0)}, numbers=[1, 2])


@pytest.mark.parametrize("kind", [Kind.F32, Kind.BF16, Kind.Q4_0, Kind.Q4_1, Kind.Q5_1, Kind.Q8_0])
@pytest.mark.parametrize("shape", [(6, 96), (3, 4, 64), (64,)])
def test_parts_are_those_of_the_de_quantised_whole(tmp_path, kind, shape):
    array = _normal(*shape)
    path = _write(tmp_path / "x.gguf", {"before": (_normal(5), Kind.F32), "x": (array, kind)})
    whole = gguf.quants.dequantize(gguf.quants.quantize(array, kind), kind)
    found = open_gguf_file(path).arrays["x"]
    assert found.shape == shape
    assert found.dtype == ("bfloat16" if kind == Kind.BF16 else "float32")
    np.testing.assert_array_equal(found.read().astype(np.float32), whole)
    for last in (slice(0, 1), slice(31, 33), slice(40, 64), slice(32, 64)):
        index = (*[slice(1, size) for size in shape[:-1]], last)
        np.testing.assert_array_equal(found[index].astype(np.float32), whole[index])


def test_half_precision_stays_as_it_is(tmp_path):
    array = _normal(4, 32).astype(np.float16)
    found = open_gguf_file(_write(tmp_path / "x.gguf", {"x": (array, Kind.F16)})).arrays["x"]
    assert found.dtype == np.float16
    np.testing.assert_array_equal(found[1:3, 5:9], array[1:3, 5:9])


@pytest.mark.parametrize("kind", [Kind.Q2_K, Kind.Q4_K, Kind.Q6_K, Kind.IQ4_XS, Kind.IQ2_XXS])
def test_blocks_that_only_other_programs_write(tmp_path, kind):
    """The package does not quantise these: blocks of any bytes are as good."""
    block_items, block_bytes = gguf.GGML_QUANT_SIZES[kind]
    content = np.random.default_rng(0).integers(0, 100, (5, 3 * block_bytes), np.uint8)
    path = tmp_path / "x.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tensor("x", content, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    whole = gguf.quants.dequantize(content, kind)
    assert whole.shape == (5, 3 * block_items)
    found = open_gguf_file(path).arrays["x"]
    np.testing.assert_array_equal(found.read(), whole)
    part = (slice(1, 4), slice(block_items - 1, 2 * block_items + 1))
    np.testing.assert_array_equal(found[part], whole[part])


def test_the_same_header_as_the_package_reads(tmp_path):
    path = tmp_path / "x.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_string("text", "Grüße ▁ \n")
    writer.add_bool("flag", True)
    writer.add_float32("number", 1e-5)
    writer.add_int64("negative", -(2**40))
    writer.add_array("texts", ["", "a", "▁b"])
    writer.add_array("numbers", [1.5, -2.0])
    writer.add_custom_alignment(128)
    writer.add_tensor("x", _normal(3, 5))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    found = open_gguf_file(path)
    expected = {
        name: field.contents()
        for name, field in gguf.GGUFReader(path).fields.items()
        if not name.startswith("GGUF.")
    }
    assert found.metadata == expected
    np.testing.assert_array_equal(found.arrays["x"].read(), _normal(3, 5))


def test_names_that_come_twice_are_refused(tmp_path):
    """The second would be taken for the first, in silence."""
    tensors = {"one": (_normal(4), Kind.F32), "two": (_normal(4), Kind.F32)}
    path = _write(tmp_path / "x.gguf", tensors, first=1, other=2)
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"two", b"one"))
    with pytest.raises(UserError, match=r"x.gguf is damaged: its header has the tensor 'one' twi"):
        open_gguf_file(path)
    path.write_bytes(whole.replace(b"other", b"first"))
    with pytest.raises(UserError, match=r"its header has the entry 'first' twice; get it again"):
        open_gguf_file(path)


def test_is_gguf_looks_at_the_first_bytes(small, tmp_path):
    assert is_gguf(small)
    (tmp_path / "other").write_bytes(b"PK\x03\x04")
    (tmp_path / "empty").write_bytes(b"")
    assert not any(is_gguf(tmp_path / name) for name in ("other", "empty", "nowhere", "."))


def _changed(path, old, new):
    content = path.read_bytes()
    assert content.count(old) == 1
    path.write_bytes(content.replace(old, new))


def test_every_cut_is_noticed(small):
    content = small.read_bytes()
    for size in (*range(0, 200, 7), len(content) - 40, len(content) - 1):
        small.write_bytes(content[:size])
        with pytest.raises(UserError, match=r"small\.gguf is (cut short|no GGUF)") as raised:
            open_gguf_file(small)
        assert len(str(raised.value).splitlines()) == 1
    assert "tensor 'first' ends at byte" in str(raised.value)


def test_a_file_cut_after_it_was_opened(small):
    array = open_gguf_file(small).arrays["first"]
    small.write_bytes(small.read_bytes()[:-100])
    with pytest.raises(UserError, match="has become shorter while it was read"):
        array.read()


@pytest.mark.parametrize(("number", "name"), [(9999, "9999"), (Kind.Q8_K.value, "Q8_K")])
def test_a_quantisation_that_cannot_be_read(small, number, name):
    # After the tensor's name: 2 dimensions, their sizes, and the type.
    before = struct.pack("<5sIQQ", b"first", 2, 64, 8)
    _changed(small, before + struct.pack("<I", 8), before + struct.pack("<I", number))
    with pytest.raises(UserError, match=f"tensor 'first' is quantised as {name}, which .*update"):
        open_gguf_file(small)


def test_damage_is_named(small):
    intact = small.read_bytes()
    _changed(
        small, struct.pack("<5sIQQ", b"first", 2, 64, 8), struct.pack("<5sIQQ", b"first", 2, 63, 8)
    )
    with pytest.raises(
        UserError, match="rows of tensor 'first' have 63 values, but Q8_0 has blocks"
    ):
        open_gguf_file(small)
    small.write_bytes(intact)
    _changed(small, struct.pack("<5sI", b"first", 2), struct.pack("<5sI", b"first", 99))
    with pytest.raises(UserError, match="damaged: tensor 'first' would have 99 dimensions"):
        open_gguf_file(small)
    small.write_bytes(intact)
    _changed(small, struct.pack("<7sII", b"numbers", 9, 5), struct.pack("<7sII", b"numbers", 77, 5))
    with pytest.raises(UserError, match="a value of the unknown type 77"):
        open_gguf_file(small)
    small.write_bytes(intact.replace(b"llama", b"\xff\xfe\xfd\xfc\xfb"))
    with pytest.raises(UserError, match=r"a string before byte \d+ is not UTF-8"):
        open_gguf_file(small)
    small.write_bytes(intact)
    _changed(
        small,
        struct.pack("<7sIIQ", b"numbers", 9, 5, 2),
        struct.pack("<7sIIQ", b"numbers", 9, 9, 2),
    )
    with pytest.raises(UserError, match="is damaged: it has an array of arrays; get it again"):
        open_gguf_file(small)
    small.write_bytes(b"GGML" + intact[4:])
    with pytest.raises(UserError, match="is no GGUF file: it does not begin with 'GGUF'"):
        open_gguf_file(small)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (struct.pack("<II", 4, 0), "general.alignment is 0"),
        (struct.pack("<II", 5, 2**32 - 1), "general.alignment is -1"),
        (struct.pack("<If", 6, 32.0), r"general.alignment is 32\.0"),
    ],
)
def test_an_impossible_alignment_is_named(tmp_path, value, message):
    path = _write(tmp_path / "x.gguf", {"x": (_normal(4), Kind.F32)}, **{"general.alignment": 32})
    name = b"general.alignment"
    _changed(path, name + struct.pack("<II", 4, 32), name + value)
    with pytest.raises(UserError, match=f"is damaged: {message}; get it again"):
        open_gguf_file(path)


@pytest.mark.parametrize("version", [1, 0x03000000])
def test_other_versions_and_byte_orders_are_refused(small, version):
    small.write_bytes(b"GGUF" + struct.pack("<I", version) + small.read_bytes()[8:])
    with pytest.raises(UserError, match=f"has version {version} .* big-endian .*version 2 or 3"):
        open_gguf_file(small)


READ_COLUMNS = """
import resource, sys
from pathlib import Path
from tlm_jax.checkpoints.formats.gguf_file import open_gguf_file
array = open_gguf_file(Path(sys.argv[1])).arrays["x"]
array[0:1, 0:1]
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for start in range(0, 4096, 512):
    array[:, start : start + 512]
for start in range(0, 4096, 512):
    array[start : start + 512]
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 / array.nbytes)
"""


def test_reading_in_blocks_needs_less_memory_than_the_tensor(tmp_path):
    """A tensor of 64 MiB when expanded, whose 8-bit values are 17 MiB."""
    path = _write(tmp_path / "x.gguf", {"x": (np.ones((4096, 4096), np.float32), Kind.Q8_0)})
    command = [sys.executable, "-c", READ_COLUMNS, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert float(done.stdout) < 0.9
