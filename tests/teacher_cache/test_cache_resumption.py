"""A cache goes on after a kill, a full disk and a lost manifest; no finished row is lost."""

import errno
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from cached_rows import check_holds, keys_of

from tlm_jax.errors import UserError
from tlm_jax.teacher_cache import CacheWriter, TeacherCache, TopK


def test_a_lost_manifest_is_made_again(tmp_path, fill, row_of, header):
    fill(tmp_path, range(7))
    before = TeacherCache.open(tmp_path).shards
    (tmp_path / "part-00000.json").unlink()
    with pytest.raises(UserError, match="no teacher cache there"):
        TeacherCache.open(tmp_path)
    CacheWriter(tmp_path, header, encoding=TopK(4)).close()
    assert check_holds(tmp_path, range(7), row_of).shards == before


KILLED = """
    import sys
    sys.path.insert(0, {tests!r})
    from conftest import VOCABULARY, make_row
    from tlm_jax.teacher_cache import CacheWriter, Header, TopK
    header = Header("a teacher", "parameters-1", "tokens-1", VOCABULARY, source_task="task_a")
    with CacheWriter({directory!r}, header, encoding=TopK(4), rows_per_shard=20) as writer:
        for number in range(4000):
            if not writer.have(make_row(number).key):
                writer.write(make_row(number))
                print(number, flush=True)
"""


def test_a_kill_loses_no_finished_shard_and_doubles_no_row(tmp_path, row_of):
    """Killed at three different moments, then read and gone on from."""
    program = KILLED.format(tests=str(Path(__file__).parent), directory=str(tmp_path))
    done = 0
    for kill_after in (30, 61, 75):
        process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(program)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
            env=os.environ | {"JAX_PLATFORMS": "cpu"},
        )
        assert process.stdout is not None
        for _ in range(kill_after):
            last = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
        last = max([last, *map(int, process.stdout.read().split())])
        process.stdout.close()
        process.wait()
        cache = TeacherCache.open(tmp_path)
        assert list(cache.keys()) == keys_of(range(len(cache)))  # no hole, nothing twice
        assert done <= len(cache) <= last + 1
        assert len(cache) > last - 20  # at most the shard that was being collected is lost
        assert len(cache) % 20 == 0
        done = len(cache)
    check_holds(tmp_path, range(done), row_of)


def test_a_kill_between_a_shard_and_its_entry_loses_nothing(tmp_path, fill, row_of, header):
    fill(tmp_path, range(5))
    part = (tmp_path / "part-00000.json").read_bytes()
    fill(tmp_path, range(5, 10))
    (tmp_path / "part-00000.json").write_bytes(part)
    (tmp_path / "shard-00000-000002.rows.partial").write_bytes(b"torn")
    assert len(TeacherCache.open(tmp_path)) == 5
    with CacheWriter(tmp_path, header, encoding=TopK(4)) as writer:
        assert writer.have(row_of(9).key)
        writer.write(row_of(10))
    check_holds(tmp_path, range(11), row_of)
    assert not list(tmp_path.glob("*.partial"))


def test_a_full_disk_is_one_line_and_loses_no_finished_row(
    tmp_path, fill, header, row_of, monkeypatch
):
    fill(tmp_path, range(3))
    writer = CacheWriter(tmp_path, header, encoding=TopK(4))
    writer.write(row_of(3))

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(UserError, match=r"cannot be written .No space left on device.; what"):
            writer.flush()
    check_holds(tmp_path, range(3), row_of)
    writer.close()  # there is space again: nothing was lost
    check_holds(tmp_path, range(4), row_of)
