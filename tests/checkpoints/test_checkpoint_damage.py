"""A damaged checkpoint is named, passed over, and never a reason to start over in silence."""

import re
import shutil

import jax.numpy as jnp
import numpy as np
import pytest

from tlm_jax.checkpoints import manifest
from tlm_jax.checkpoints.manager import CheckpointManager, Items
from tlm_jax.checkpoints.structure import array_specs
from tlm_jax.errors import UserError


def state(value):
    return {"params": {"w": jnp.full((64, 64), value, jnp.float32)}, "step": jnp.int32(value)}


@pytest.fixture
def saved(tmp_path):
    """Checkpoints 1, 2 and 3, and what was announced while reading them."""
    manager = CheckpointManager(tmp_path)
    for step in (1, 2, 3):
        manager.save(step, Items(state(step), {"position": step}))
    manager.close()
    return tmp_path


def largest_file(checkpoint):
    return max((p for p in checkpoint.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)


def truncate(checkpoint):
    file = largest_file(checkpoint / "state")
    size = file.stat().st_size
    with file.open("r+b") as f:
        f.truncate(size // 2)
    return rf"file state/.* has [\d,]+ bytes instead of {size:,}"


def flip_a_bit(checkpoint):
    file = largest_file(checkpoint / "state")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    return r"file state/.* has been altered \(its checksum differs\)"


def remove_a_file(checkpoint):
    (checkpoint / "state" / "_METADATA").unlink()
    return "file state/_METADATA is missing"


def change_the_data_position(checkpoint):
    file = checkpoint / "data" / "metadata"
    file.write_text(file.read_text().replace("3", "4"))
    return "file data/metadata has been altered"


def remove_the_manifest(checkpoint):
    (checkpoint / "manifest.json").unlink()
    return "manifest.json is missing"


def cut_the_manifest(checkpoint):
    file = checkpoint / "manifest.json"
    file.write_text(file.read_text()[:-50])
    return "manifest.json cannot be read"


def alter_the_manifest(checkpoint):
    file = checkpoint / "manifest.json"
    file.write_text(file.read_text().replace('"step": 3', '"step": 9'))
    return "manifest.json has been altered"


DAMAGES = [
    truncate,
    flip_a_bit,
    remove_a_file,
    change_the_data_position,
    remove_the_manifest,
    cut_the_manifest,
    alter_the_manifest,
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_falls_back_to_the_previous_checkpoint_and_says_so(saved, damage):
    problem = damage(saved / "3")
    lines = []
    manager = CheckpointManager(saved, announce=lines.append)
    step, items = manager.restore(state(0))
    assert step == 2
    assert items.data == {"position": 2}
    np.testing.assert_array_equal(items.state["params"]["w"], np.full((64, 64), 2.0))
    (line,) = lines
    assert "\n" not in line
    assert re.fullmatch(
        rf"checkpoint 3 is damaged: {problem}.*; going on from checkpoint 2 "
        rf"\(the damaged one is now .*/3\.damaged\)",
        line,
    )
    assert sorted(p.name for p in saved.glob("[!.]*")) == ["1", "2", "3.damaged"]
    # Training goes on over the lost step.
    manager.save(3, Items(state(30)))
    step, items = manager.restore(state(0))
    assert (step, int(items.state["step"])) == (3, 30)


@pytest.mark.parametrize("damage", DAMAGES)
def test_asking_for_the_damaged_step_fails(saved, damage):
    problem = damage(saved / "3")
    with pytest.raises(UserError, match=rf"no usable checkpoint in .* \(3: {problem}"):
        CheckpointManager(saved).restore(state(0), step=3)


def test_all_damaged_is_an_error_every_time(saved):
    for step in (1, 2, 3):
        (saved / str(step) / "manifest.json").unlink()
    for _ in range(2):
        with pytest.raises(
            UserError,
            match=r"no usable checkpoint in .* \(3: manifest.json is missing; "
            r"2: manifest.json is missing; 1: .*\)\. Bring the files back, or move the directory "
            r"away to start over\.",
        ):
            CheckpointManager(saved).restore(state(0))


def test_only_set_aside_checkpoints_are_an_error(saved):
    truncate(saved / "3")
    CheckpointManager(saved, announce=lambda line: None).restore(state(0))
    shutil.rmtree(saved / "1")
    shutil.rmtree(saved / "2")
    with pytest.raises(
        UserError, match=r"holds only damaged checkpoints \(3\.damaged\): .* to start over$"
    ):
        CheckpointManager(saved).restore(state(0))


def test_without_checksums_sizes_are_still_checked(tmp_path):
    manager = CheckpointManager(tmp_path, checksums=False)
    for step in (1, 2):
        manager.save(step, Items(state(step)))
    manager.close()
    problem = truncate(tmp_path / "2")
    lines = []
    step, _ = CheckpointManager(tmp_path, checksums=False, announce=lines.append).restore(state(0))
    assert step == 1
    assert re.search(problem, lines[0])


def test_what_orbax_cannot_read_is_damage_too(saved):
    # As if the damage had been there before the files were sealed.
    file = saved / "3" / "state" / "_METADATA"
    file.write_text("{")
    (saved / "3" / "manifest.json").unlink()
    manifest.seal(saved / "3", 3, array_specs(state(3)), score=None, checksums=True)
    lines = []
    step, _ = CheckpointManager(saved, announce=lines.append).restore(state(0))
    assert step == 2
    assert lines[0].startswith("checkpoint 3 is damaged: cannot be read (")


def test_unfinished_saves_are_never_read_and_are_removed(saved):
    (saved / "3").rename(saved / "4.saving")
    (saved / "5.saving.orbax-checkpoint-tmp").mkdir()
    (saved / "2").rename(saved / "2.deleting")
    lines = []
    manager = CheckpointManager(saved, announce=lines.append)
    step, _ = manager.restore(state(0))
    assert step == 1
    assert lines == []
    assert [p.name for p in saved.glob("[!.]*")] == ["1"]
