"""Files of text are read whatever compressed them, and what they are not is said."""

import bz2
import gzip
import lzma

import pyarrow
import pytest

from tlm_jax.data.official.files import read_text
from tlm_jax.data.records import read_json_lines
from tlm_jax.errors import UserError
from tlm_jax.runs.inference.config import PromptsConfig
from tlm_jax.runs.inference.prompts import load_prompts

TEXT = '{"prompt": "é"}\n\n{"prompt": "b"}'.encode()


def _zstd(data):
    sink = pyarrow.BufferOutputStream()
    with pyarrow.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    return sink.getvalue().to_pybytes()


COMPRESSED = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress, ".zst": _zstd}


def _rows(path):
    return list(read_json_lines(path))


@pytest.mark.parametrize("compress", COMPRESSED.values(), ids=COMPRESSED)
@pytest.mark.parametrize("name", ["as_named", "other.jsonl"])
def test_what_is_compressed_is_read_by_its_content(tmp_path, compress, name):
    suffix = next(suffix for suffix, found in COMPRESSED.items() if found is compress)
    path = tmp_path / (f"a.jsonl{suffix}" if name == "as_named" else name)
    path.write_bytes(compress(TEXT))
    assert _rows(path) == [(1, {"prompt": "é"}), (3, {"prompt": "b"})]
    # Two members, one after the other, as appending makes them.
    path.write_bytes(compress(TEXT + b"\n") + compress(TEXT))
    assert [number for number, _ in _rows(path)] == [1, 3, 4, 6]
    path.write_bytes(compress((TEXT + b"\n") * 5000)[:-9])
    with pytest.raises(UserError, match=rf"{path.name}:\d+: cannot be read \("):
        _rows(path)


@pytest.mark.parametrize("suffix", COMPRESSED)
def test_a_name_that_promises_too_much_is_said(tmp_path, suffix):
    path = tmp_path / f"a.jsonl{suffix}"
    path.write_bytes(TEXT)
    with pytest.raises(UserError, match=rf"{path.name} is not compressed as its name says:"):
        _rows(path)
    path.write_bytes(b"")
    assert _rows(path) == []


@pytest.mark.parametrize(
    ("start", "message"),
    [
        (b"PK\x03\x04", r"a.jsonl is a ZIP archive: unpack it$"),
        (b"PAR1\x15", r"a.jsonl is a Parquet file: write it as JSON Lines$"),
        ("{}".encode("utf-16"), r"a.jsonl is text in UTF-16: save it as UTF-8$"),
        (b"version https://git-lfs.github.com/spec/v1\n", r"a.jsonl is a pointer of Git LFS"),
    ],
)
def test_other_kinds_of_files_are_named(tmp_path, start, message):
    path = tmp_path / "a.jsonl"
    path.write_bytes(start)
    with pytest.raises(UserError, match=message):
        _rows(path)


def test_byte_order_marks_are_dropped_by_every_reader(tmp_path):
    """Also where files that had one were joined."""
    mark = b"\xef\xbb\xbf"
    path = tmp_path / "a.jsonl"
    path.write_bytes(mark + b'{"prompt": "a"}\n' + mark + b'{"prompt": "b"}\n')
    assert [row["prompt"] for _, row in _rows(path)] == ["a", "b"]
    prompts = load_prompts(PromptsConfig(file=str(path)), None)
    assert [prompt.text for prompt in prompts] == ["a", "b"]
    path.write_bytes(mark + b"text\r\nmore")
    assert read_text(path) == "text\r\nmore"


@pytest.mark.parametrize("name", ["examples", "grade", "prompts"])
def test_published_cases_with_a_byte_order_mark_are_read(shared_dir, name):
    assert _rows(shared_dir / "cases" / "10-jsonl-bom" / f"{name}.jsonl")


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("two-members.jsonl.gz", 4),
        ("hidden.jsonl", 4),
        ("blank-lines.jsonl", 4),
        ("no-final-newline.jsonl", 4),
        ("empty.jsonl", 0),
    ],
)
def test_published_compressed_files_are_read(shared_dir, name, rows):
    assert len(_rows(shared_dir / "cases" / "19-compressed" / name)) == rows


@pytest.mark.parametrize("name", ["cut.jsonl.gz", "plain.jsonl.gz", "zst.jsonl.zst"])
def test_published_damaged_files_are_refused_by_name(shared_dir, name):
    with pytest.raises(
        UserError, match=rf"{name}(:\d+: cannot be read \(.*get it again| is not compressed as)"
    ):
        _rows(shared_dir / "cases" / "19-compressed" / name)


def test_a_number_of_thousands_of_digits_is_refused_with_a_way_out(shared_dir):
    with pytest.raises(UserError, match=r"huge-number.jsonl:2: a whole number .* write it as text"):
        _rows(shared_dir / "cases" / "19-compressed" / "huge-number.jsonl")
