"""A large file is read once by all processes together, while it is as it was."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import pytest

from tlm_jax.errors import UserError
from tlm_jax.system import file_digest as module
from tlm_jax.system.file_digest import file_digest


@pytest.fixture
def notes(tmp_path, monkeypatch) -> Path:
    """The folder of notes, which are made of small files and new ones too."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(module, "_REMEMBERED_BYTES", 1)
    monkeypatch.setattr(module, "_SETTLED_S", -60.0)
    return tmp_path / "cache" / "tlm_jax" / "digests"


@pytest.fixture
def reads(monkeypatch) -> list[str]:
    """What was read."""
    made: list[str] = []
    digest = hashlib.file_digest

    def reading(file: Any, name: str) -> Any:
        made.append(file.name)
        return digest(file, name)

    monkeypatch.setattr(module.hashlib, "file_digest", reading)
    return made


def test_a_file_is_read_again_only_where_it_changed(tmp_path, notes, reads):
    file = tmp_path / "weights"
    file.write_bytes(b"one")
    one = hashlib.sha256(b"one").hexdigest()
    assert [file_digest(file), file_digest(file)] == [one, one]
    assert len(reads) == 1
    assert [path.name for path in tmp_path.iterdir() if path != tmp_path / "cache"] == ["weights"]
    stamp = file.stat().st_mtime_ns
    file.write_bytes(b"two")
    os.utime(file, ns=(stamp, stamp))
    assert file_digest(file) == hashlib.sha256(b"two").hexdigest()


def test_a_note_that_is_not_whole_is_none(tmp_path, notes, reads):
    file = tmp_path / "weights"
    file.write_bytes(b"one")
    one = file_digest(file)
    (note,) = notes.iterdir()
    for damage in (one[:40], one[:-1] + "x", ""):
        note.write_text(damage)
        assert file_digest(file) == one
    assert len(reads) == 4


def test_what_changed_just_now_is_not_noted(tmp_path, notes, monkeypatch):
    monkeypatch.setattr(module, "_SETTLED_S", 60.0)
    (tmp_path / "weights").write_bytes(b"one")
    file_digest(tmp_path / "weights")
    assert not notes.exists()


def test_without_a_cache_that_can_be_written_the_file_is_read(tmp_path, notes, reads, monkeypatch):
    (tmp_path / "weights").write_bytes(b"one")
    (tmp_path / "cache").write_text("a file")
    assert file_digest(tmp_path / "weights") == file_digest(tmp_path / "weights")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # nobody knows the home
    file_digest(tmp_path / "weights")
    assert len(reads) == 3
    with pytest.raises(UserError, match=r"no: cannot be read \(No such file or directory\)"):
        file_digest(tmp_path / "no")
