"""What is in a directory of checkpoints beside checkpoints."""

from __future__ import annotations

import json

import pytest

from tlm_jax.checkpoints.choice import complete_steps
from tlm_jax.checkpoints.directory import CheckpointDirectory
from tlm_jax.checkpoints.keep import KeepPolicy
from tlm_jax.checkpoints.manager import CheckpointManager


def _checkpoint(path, name: str):
    (path / name).mkdir(parents=True)
    (path / name / "file").write_text(name)
    return path / name


def test_of_a_checkpoint_that_is_a_link_the_link_alone_is_deleted(tmp_path):
    moved = _checkpoint(tmp_path / "elsewhere", "1")
    directory = tmp_path / "checkpoints"
    for step in ("2", "3"):
        _checkpoint(directory, step)
    (directory / "1").symlink_to(moved)
    assert complete_steps(directory) == [1, 2, 3]
    CheckpointDirectory(directory).delete_superseded(KeepPolicy(last=2))
    assert complete_steps(directory) == [2, 3]
    assert sorted(path.name for path in directory.iterdir()) == ["2", "3"]
    assert (moved / "file").read_text() == "1"


def test_only_what_a_run_left_half_done_is_removed_at_its_start(tmp_path):
    target = _checkpoint(tmp_path / "elsewhere", "9")
    for name in ("4.saving", "5.deleting", "6.saving.orbax-checkpoint-tmp", "7", "8.damaged"):
        _checkpoint(tmp_path / "checkpoints", name)
    (tmp_path / "checkpoints" / "9.deleting").symlink_to(target)
    for name in ("notes.saving.txt", "10.saving", "a.deleting", "²"):
        (tmp_path / "checkpoints" / name).write_text(json.dumps(name))
    CheckpointManager(tmp_path / "checkpoints").close()
    left = {path.name for path in (tmp_path / "checkpoints").iterdir()}
    assert {"7", "8.damaged", "notes.saving.txt", "a.deleting", "²"} <= left
    assert not left & {"4.saving", "5.deleting", "6.saving.orbax-checkpoint-tmp", "9.deleting"}
    assert "10.saving" not in left
    assert (target / "file").exists()


@pytest.mark.parametrize("link", [False, True])
def test_a_damaged_one_takes_the_place_of_an_earlier_damaged_one(tmp_path, link):
    directory = tmp_path / "checkpoints"
    _checkpoint(directory, "3")
    if link:
        (directory / "3.damaged").symlink_to(_checkpoint(tmp_path, "elsewhere"))
    else:
        _checkpoint(directory, "3.damaged")
    moved = CheckpointDirectory(directory).set_aside(3)
    assert (moved / "file").read_text() == "3"
    assert complete_steps(directory) == []
