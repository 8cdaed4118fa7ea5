"""A temporary folder is deleted when it is closed, and after a kill by the next process."""

import signal
import subprocess
import sys
import tempfile

import pytest

from tlm_jax.runs.opened.temporary_folder import TemporaryFolder

_OTHER = """
import sys, time
from tlm_jax.runs.opened.temporary_folder import TemporaryFolder
folder = TemporaryFolder("tlm_jax_test_")
print(folder.path, flush=True)
time.sleep(600)
"""


@pytest.fixture
def other(tmp_path, monkeypatch):
    """Another process with a folder: the process, and the folder's path."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    environment = {"TMPDIR": str(tmp_path), "PYTHONPATH": ":".join(sys.path)}
    process = subprocess.Popen(
        [sys.executable, "-c", _OTHER], stdout=subprocess.PIPE, text=True, env=environment
    )
    assert process.stdout is not None
    yield process, tmp_path / process.stdout.readline().strip()
    process.kill()
    process.wait()
    process.stdout.close()


def test_what_a_killed_process_left_is_deleted_and_what_is_used_is_not(other):
    process, left = other
    mine = TemporaryFolder("tlm_jax_test_")
    assert left.is_dir()
    process.send_signal(signal.SIGKILL)
    process.wait()
    TemporaryFolder("tlm_jax_test_").close()
    assert not left.exists()
    assert mine.path.is_dir()
    mine.close()
    mine.close()
    assert not mine.path.exists()


def test_other_folders_are_let_be(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / "tlm_jax_test_mine").mkdir()
    (tmp_path / "tlm_jax_test_file").write_text("")
    TemporaryFolder("tlm_jax_test_").close()
    assert len(list(tmp_path.iterdir())) == 2
