"""The directory of a conversion: there when all is written, and as it was when anything fails."""

import errno
import os
import subprocess
import sys

import numpy as np
import pytest

from tlm_jax.checkpoints import conversion
from tlm_jax.checkpoints.conversion import convert
from tlm_jax.checkpoints.formats import hugging_face
from tlm_jax.checkpoints.lock import lock_directory
from tlm_jax.checkpoints.pretrained import open_pretrained
from tlm_jax.errors import UserError


def test_a_destination_that_exists_is_left_alone(write_hugging_face, tmp_path):
    source = write_hugging_face()
    (tmp_path / "there").mkdir()
    (tmp_path / "there/mine").write_text("keep")
    with pytest.raises(UserError, match=r"there exists already; name a directory that does not"):
        convert(open_pretrained(source), tmp_path / "there", "native")
    assert [path.name for path in (tmp_path / "there").iterdir()] == ["mine"]


def test_a_link_to_nowhere_is_a_destination_that_exists(write_hugging_face, tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"link exists already"):
        convert(open_pretrained(write_hugging_face()), tmp_path / "link", "native")
    assert (tmp_path / "link").is_symlink()


def test_a_destination_that_cannot_be_made_is_one_line(write_hugging_face, tmp_path):
    (tmp_path / "file").write_text("keep")
    with pytest.raises(UserError, match=r"file/n was not written: (Not a directory|File exists)"):
        convert(open_pretrained(write_hugging_face()), tmp_path / "file/n", "native")
    assert (tmp_path / "file").read_text() == "keep"


def test_what_a_killed_conversion_left_is_cleared_away(write_hugging_face, tmp_path):
    unfinished = tmp_path / "n.converting"
    os.close(lock_directory(_made(unfinished)))
    (unfinished / "checkpoints").mkdir()
    (unfinished / "junk").write_text("half")
    convert(open_pretrained(write_hugging_face()), tmp_path / "n", "native")
    assert not unfinished.exists()
    assert not {"junk", ".lock"} & {path.name for path in (tmp_path / "n").iterdir()}


def test_what_no_conversion_left_is_not_cleared_away(write_hugging_face, tmp_path):
    (_made(tmp_path / "n.converting") / "mine").write_text("keep")
    with pytest.raises(UserError, match=r"n.converting is in the way: .*no conversion left it"):
        convert(open_pretrained(write_hugging_face()), tmp_path / "n", "native")
    assert (tmp_path / "n.converting/mine").read_text() == "keep"


def test_two_conversions_do_not_write_to_one_place(write_hugging_face, tmp_path):
    unfinished = _made(tmp_path / "n.converting")
    holder = "import sys, tlm_jax.checkpoints.lock as lock, pathlib; "
    holder += "lock.lock_directory(pathlib.Path(sys.argv[1])); print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", holder, unfinished], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(UserError, match=rf"is in use by another process \(process {other.pid}"):
            convert(open_pretrained(write_hugging_face()), tmp_path / "n", "native")
        assert unfinished.is_dir()
        other.communicate(b"\n")
    convert(open_pretrained(tmp_path / "hf"), tmp_path / "n", "native")


def _made(directory):
    directory.mkdir()
    return directory


def test_a_failure_takes_the_directories_with_it_that_it_made(write_hugging_face, tmp_path):
    source = write_hugging_face()
    _spoil(source, np.nan)
    with pytest.raises(UserError, match=r"NaN or infinite"):
        convert(open_pretrained(source), tmp_path / "a/b/n", "native")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hf"]


def _spoil(directory, value):
    file = hugging_face.weight_files(directory)[-1]
    content = bytearray(file.read_bytes())
    content[-4:] = np.float32(value).tobytes()
    file.write_bytes(content)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("target", ["native", "hf"])
def test_values_that_are_not_finite_are_refused(write_hugging_face, tmp_path, value, target):
    source = write_hugging_face()
    _spoil(source, value)
    with pytest.raises(UserError, match=r"parameter '.*' holds 1 values that are NaN or infinite"):
        convert(open_pretrained(source), tmp_path / "n", target)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hf"]


@pytest.mark.parametrize("target", ["native", "hf"])
def test_a_full_disk_leaves_nothing(write_hugging_face, tmp_path, monkeypatch, target):
    source = open_pretrained(write_hugging_face())

    def full(*unused, **further):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(conversion, "write_report", full)
    with pytest.raises(UserError, match=r"n was not written: no space left on the disk. Make room"):
        convert(source, tmp_path / "n", target)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hf"]
