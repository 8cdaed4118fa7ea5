"""A failure names the command that repeats it, and a worker's memory is bounded between files."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import suite_session

SUPPORT = Path(suite_session.__file__).parent
_FILE = """
import pytest

@pytest.fixture
def broken(): raise OSError("no set-up")

@pytest.mark.parametrize("text", ["it's", "plain"])
def test_of(text): assert text == "other"

def test_without_set_up(broken): pass
def test_that_passes(): pass
"""


def test_commands_are_for_a_shell_and_each_is_named_once():
    ids = ["tests/a.py::test[x y]", "tests/a.py::test_b", "tests/a.py::test_b"]
    assert suite_session.repeat_commands(ids) == [
        "scripts/test 'tests/a.py::test[x y]'",
        "scripts/test tests/a.py::test_b",
    ]


def test_failures_and_errors_name_the_command_that_repeats_them(tmp_path):
    (tmp_path / "test_some.py").write_text(_FILE)
    (tmp_path / "pytest.ini").write_text(f"[pytest]\npythonpath = {SUPPORT}\n")
    options = ["-p", "no:cacheprovider", "-p", "suite_session"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *options],
        cwd=tmp_path,
        env={"PATH": "", "PYTHONPATH": str(SUPPORT), "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1, done.stderr
    assert re.findall(r"^scripts/test .*", done.stdout, re.MULTILINE) == [
        """scripts/test 'test_some.py::test_of[it'"'"'s]'""",
        "scripts/test 'test_some.py::test_of[plain]'",
        "scripts/test test_some.py::test_without_set_up",
    ]


class _Item:
    def __init__(self, path):
        self.path = path


@pytest.mark.parametrize(
    ("following", "resident_gib", "released"),
    [("a", 2, 0), ("a", 3, 1), ("b", 2, 1), (None, 2, 1), ("b", 1, 0)],
    ids=["same file", "a big file", "next file", "last test", "little memory"],
)
def test_programs_are_given_back_where_memory_is_short_rather_between_files(
    monkeypatch, following, resident_gib, released
):
    calls = []
    monkeypatch.setattr(suite_session, "resident_bytes", lambda: resident_gib * 2**30)
    monkeypatch.setattr(suite_session, "release_programs", lambda: calls.append(1))
    around = suite_session.pytest_runtest_teardown(
        _Item("a"), None if following is None else _Item(following)
    )
    next(around)
    assert calls == []  # fixtures of the file are still there
    with pytest.raises(StopIteration):
        next(around)
    assert len(calls) == released


def test_programs_that_are_given_back_are_compiled_again():
    import jax
    import jax.numpy as jnp

    traced = []

    @jax.jit
    def double(x):
        traced.append(1)
        return 2 * x

    for expected in (1, 1):
        assert float(double(jnp.float32(3.0))) == 6.0
        assert len(traced) == expected
    suite_session.release_programs()
    assert float(double(jnp.float32(3.0))) == 6.0
    assert len(traced) == 2
