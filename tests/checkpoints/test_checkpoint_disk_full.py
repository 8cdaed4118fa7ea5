"""A full disk is one clear line, and the checkpoints written before it stay whole."""

import errno
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import jax.numpy as jnp
import pytest

from tlm_jax.checkpoints import manifest
from tlm_jax.checkpoints.choice import complete_steps
from tlm_jax.checkpoints.manager import CheckpointManager, Items
from tlm_jax.errors import UserError

WORKER = Path(__file__).parent / "worker_saving.py"
ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": str(Path(__file__).parents[2]),
    "XLA_FLAGS": "",
    "JAX_PLATFORMS": "cpu",
}


def state(value):
    return {"params": {"w": jnp.full(4, value)}}


def test_no_space_while_sealing(tmp_path, monkeypatch):
    manager = CheckpointManager(tmp_path)
    manager.save(1, Items(state(1.0)))
    manager.wait()

    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(manifest, "seal", full)
        manager.save(2, Items(state(2.0)))
        with pytest.raises(UserError) as raised:
            manager.wait()
    raised.match(
        rf"^checkpoint 2 was not written to {re.escape(str(tmp_path))}: no space left on the disk "
        r"\([\d,]+ MB free, without the unfinished files\)\. Make room first\. "
        r"Checkpoint 1 is intact: run again to go on from it\.$"
    )
    assert [p.name for p in tmp_path.glob("[!.]*")] == ["1"]
    # The run may go on when there is room again.
    manager.save(2, Items(state(2.0)))
    step, items = manager.restore(state(0.0))
    assert (step, float(items.state["params"]["w"][0])) == (2, 2.0)


def test_files_may_not_grow(tmp_path):
    """Works for every user: a limit on file size fails inside Orbax's own writes."""
    saved = subprocess.run(
        [sys.executable, WORKER, tmp_path, "2"], capture_output=True, text=True, env=ENVIRONMENT
    )
    assert (saved.returncode, saved.stdout, saved.stderr) == (0, "1\n2\n", "")
    full = subprocess.run(
        [sys.executable, WORKER, tmp_path, "4", "200000"],
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
    )
    assert full.returncode == 1
    assert re.fullmatch(
        r"error: checkpoint 3 was not written to .*: a file would be larger than this process may "
        r"write \(.*\)\. Make room first\. Checkpoint 2 is intact: run again to go on from it\.\n",
        full.stderr,
    )
    assert complete_steps(tmp_path) == [1, 2]
    again = subprocess.run(
        [sys.executable, WORKER, tmp_path, "4"], capture_output=True, text=True, env=ENVIRONMENT
    )
    assert (again.returncode, again.stdout, again.stderr) == (0, "4\n", "")
    assert sorted(p.name for p in tmp_path.glob("[!.]*")) == ["3", "4"]


def test_a_disk_that_is_really_full(tmp_path):
    """A file system of 2.5 MB of one's own holds two checkpoints of 1 MB and not a third."""
    unshare = shutil.which("unshare")
    in_namespace = [unshare, "--user", "--map-root-user", "--mount", "sh", "-c"]
    mount = f"mount -t tmpfs -o size=2500k tmpfs {tmp_path}"
    if unshare is None or subprocess.run([*in_namespace, mount], capture_output=True).returncode:
        pytest.skip("this user may not mount a file system of their own")
    script = f"{mount} && {sys.executable} {WORKER} {tmp_path} 9; ls {tmp_path}"
    full = subprocess.run([*in_namespace, script], capture_output=True, text=True, env=ENVIRONMENT)
    assert re.fullmatch(
        r"error: checkpoint 3 was not written to .*: no space left on the disk \([01] MB free, "
        r"without the unfinished files\)\. Make room first\. Checkpoint 2 is intact: .*\n",
        full.stderr,
    )
    assert full.stdout == "1\n2\n1\n2\n"


def test_a_directory_that_cannot_be_used(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"checkpoint directory .*/file/checkpoints cannot be used"):
        CheckpointManager(tmp_path / "file" / "checkpoints")
