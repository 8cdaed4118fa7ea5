"""Small files that were damaged are named, in one line."""

from __future__ import annotations

import pytest

from tlm_jax.errors import UserError, system_reason
from tlm_jax.system.text_files import read_json_object, read_text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"caf\xe9", r"file is not UTF-8 \(byte 3: 0xe9\); save it as UTF-8, or copy it anew$"),
        (b'{"a": 1,}', r"file is not JSON: "),
        (b"\xef\xbb\xbf{}", r"file is not JSON: it begins with a byte-order mark; save it"),
        (b"[" * 100_000, r"file is not JSON: "),
        (b"[1]", r"file is not a JSON object but a list$"),
        (b"", r"file is not JSON: "),
    ],
)
def test_what_is_no_json_object_is_named(tmp_path, content, message):
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(UserError, match=message) as raised:
        read_json_object(tmp_path / "file")
    assert len(str(raised.value).splitlines()) == 1


def test_a_directory_and_what_is_not_there_are_named(tmp_path):
    with pytest.raises(UserError, match=f"^{tmp_path} cannot be read: Is a directory$"):
        read_text(tmp_path)
    with pytest.raises(UserError, match=r"absent cannot be read: No such file"):
        read_text(tmp_path / "absent")


def test_errors_of_libraries_without_the_systems_words_have_their_own():
    assert system_reason(OSError("Cannot call rmtree on a symbolic link")).endswith("link")
    assert system_reason(OSError(28, "No space left on device", "f")) == "No space left on device"
    assert system_reason(OSError()) == "OSError"
