"""Samples on disk survive kills, full disks and changed settings."""

from __future__ import annotations

import errno
import json
import os

import pytest

from tlm_jax.errors import UserError
from tlm_jax.runs.inference.store import SampleStore


def sample(name: str, number: int, text: str = "") -> dict:
    return {"id": name, "sample": number, "text": text}


def test_what_was_appended_is_there_again(tmp_path):
    with SampleStore(tmp_path) as store:
        store.append(sample("b", 0, "é\nü"))
        store.append(sample("a", 1))
    with SampleStore(tmp_path) as store:
        assert store.done() == {("b", 0), ("a", 1)}
        assert dict(store.samples())["b", 0]["text"] == "é\nü"


@pytest.mark.parametrize("kept", [1, 10, 34])
def test_a_torn_last_line_is_cut_off(tmp_path, kept):
    with SampleStore(tmp_path) as store:
        store.append(sample("a", 0))
        store.append(sample("b", 0, "x" * 100_000))
    path = tmp_path / "parts" / "host-00000.jsonl"
    first = path.read_bytes().index(b"\n") + 1
    os.truncate(path, first + (kept if kept < 34 else 100_000))
    with SampleStore(tmp_path) as store:
        assert store.done() == {("a", 0)}
        store.append(sample("c", 0))
        assert store.done() == {("a", 0), ("c", 0)}
    assert len(path.read_bytes().splitlines()) == 2


def test_a_file_that_holds_only_half_a_line_is_emptied(tmp_path):
    path = tmp_path / "parts" / "host-00000.jsonl"
    path.parent.mkdir()
    path.write_bytes(b'{"id": "a", "sam')
    with SampleStore(tmp_path) as store:
        assert store.done() == set()
    assert path.read_bytes() == b""


def test_hosts_see_each_others_samples_and_merge_them_in_order(tmp_path):
    with SampleStore(tmp_path, 0) as one, SampleStore(tmp_path, 1) as other:
        one.append(sample("c", 0))
        other.append(sample("b", 0))
        assert one.done() == other.done() == {("c", 0), ("b", 0)}
        assert one.merge([("a", 0), ("b", 0), ("c", 0)]) is None
        assert not one.merged_path.exists()
        other.append(sample("a", 0))
        assert one.merge([("a", 0), ("b", 0), ("c", 0)]) == one.merged_path
    ids = [json.loads(line)["id"] for line in one.merged_path.read_text().splitlines()]
    assert ids == ["a", "b", "c"]


def test_two_processes_of_one_host_are_told(tmp_path):
    with SampleStore(tmp_path), pytest.raises(UserError, match="another process is writing"):
        SampleStore(tmp_path)


def test_another_setting_is_refused_by_name(tmp_path):
    with SampleStore(tmp_path) as store:
        store.check_settings({"sampling.temperature": 0.7, "model.name": "a"})
        store.check_settings({"model.name": "a", "sampling.temperature": 0.7})
        with pytest.raises(UserError) as caught:
            store.check_settings({"sampling.temperature": 0.8, "model.name": "a"})
    assert str(caught.value) == (
        f"{tmp_path} holds samples made with sampling.temperature 0.7, this run has 0.8. Set it "
        "as it was, or choose another OUTPUT_DIR."
    )


def test_a_full_disk_leaves_whole_lines(tmp_path, monkeypatch):
    with SampleStore(tmp_path) as store:
        store.append(sample("a", 0))
        path = tmp_path / "parts" / "host-00000.jsonl"
        whole = path.read_bytes()
        write = os.write

        def full(file: int, data: bytes) -> int:
            if len(data) <= 10:
                raise OSError(errno.ENOSPC, "No space left on device")
            return write(file, data[:10])

        monkeypatch.setattr(os, "write", full)
        with pytest.raises(UserError, match=r"No space left on device.*same command again"):
            store.append(sample("b", 0))
        monkeypatch.undo()
        assert path.read_bytes() == whole
        store.append(sample("b", 0))
        assert store.done() == {("a", 0), ("b", 0)}


def test_a_line_that_is_no_sample_is_named(tmp_path):
    path = tmp_path / "parts" / "host-00003.jsonl"
    path.parent.mkdir()
    path.write_text('{"id": "a", "sample": 0}\n{"id": "b"}\n')
    with SampleStore(tmp_path) as store, pytest.raises(UserError, match=r"00003.jsonl, line 2 is"):
        store.done()
