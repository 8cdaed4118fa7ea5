"""Killing the process at any moment loses at most the step being saved."""

import os
import random
import runpy
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tlm_jax.checkpoints.choice import complete_steps
from tlm_jax.checkpoints.directory import CheckpointDirectory
from tlm_jax.checkpoints.manager import CheckpointManager, Items

WORKER = Path(__file__).parent / "worker_saving.py"
state_of = runpy.run_path(str(WORKER))["state_of"]
REPOSITORY = Path(__file__).parents[2]


def environment():
    return {**os.environ, "PYTHONPATH": str(REPOSITORY), "XLA_FLAGS": "", "JAX_PLATFORMS": "cpu"}


def kill_while_saving(directory, delay_seconds):
    """Returns the last step that the worker reported as complete before it was killed."""
    worker = subprocess.Popen(
        [sys.executable, WORKER, directory, "1000000"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
        text=True,
    )
    first = worker.stdout.readline()
    assert first, worker.stderr.read()
    time.sleep(delay_seconds)
    worker.send_signal(signal.SIGKILL)
    rest, errors = worker.communicate()
    # Killed, not failed; and neither Orbax nor its log said a word.
    assert worker.returncode == -signal.SIGKILL
    assert errors == ""
    # The kill may have cut the last line.
    return max(int(line) for line in (first + rest).splitlines()[:-1] or [first])


def check_survivors(directory, at_least):
    """Checks every checkpoint that looks complete, and returns the newest one's step."""
    steps = complete_steps(directory)
    assert steps[-1] >= at_least
    lines = []
    manager = CheckpointManager(directory, announce=lines.append)
    for step in steps:
        found, items = manager.restore(state_of(0), step=step)
        assert found == step
        assert items.data == {"position": step}
        want = state_of(step)
        assert items.state["step"] == step
        for name, value in want["params"].items():
            np.testing.assert_array_equal(items.state["params"][name], value)
    newest, _ = manager.restore(state_of(0))
    assert newest == steps[-1]
    assert lines == []
    manager.close()
    return newest


def kill_repeatedly(directory, kills, seed):
    delays = random.Random(seed)
    newest = 0
    for _ in range(kills):
        reported = kill_while_saving(directory, delays.uniform(0.0, 0.25))
        assert reported > newest
        newest = check_survivors(directory, at_least=reported)


def test_kill_at_random_moments(tmp_path):
    kill_repeatedly(tmp_path, kills=6, seed=0)


@pytest.mark.slow
def test_kill_at_many_random_moments(tmp_path):
    kill_repeatedly(tmp_path, kills=60, seed=1)


def test_two_runs_may_not_share_a_directory(tmp_path):
    manager = CheckpointManager(tmp_path)
    manager.save(1, Items(state_of(1), {"position": 1}))
    manager.wait()
    command = [sys.executable, WORKER, tmp_path, "2"]
    second = subprocess.run(command, capture_output=True, text=True, env=environment())
    assert second.returncode == 1
    assert second.stderr == (
        f"error: {tmp_path} is in use by another process (process {os.getpid()} on "
        f"{os.uname().nodename}): wait for it, stop it, or choose another directory\n"
    )
    manager.close()
    after = subprocess.run(command, capture_output=True, text=True, env=environment())
    assert (after.returncode, after.stdout, after.stderr) == (0, "2\n", "")


def test_kill_while_deleting_superseded_checkpoints(tmp_path, monkeypatch):
    # The moment between two deletions is short, so it is made by hand here.
    manager = CheckpointManager(tmp_path)
    manager.save(1, Items(state_of(1), {"position": 1}))
    manager.wait()

    def killed(path):
        next(p for p in path.rglob("*") if p.is_file()).unlink()
        raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        CheckpointDirectory(tmp_path).delete(1)
    monkeypatch.undo()
    assert complete_steps(tmp_path) == []
    CheckpointManager(tmp_path)
    assert list(tmp_path.glob("[!.]*")) == []
