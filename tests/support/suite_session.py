"""Hooks of a whole test session: memory between files, and how to repeat what failed."""

from __future__ import annotations

import ctypes
import gc
import os
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

import jax
import pytest

# Two workers share a machine of 8 GB; with TensorFlow and all tests collected one has 1.1 GB.
_MOST_BETWEEN_FILES = 1.75 * 2**30
_MOST_WITHIN_A_FILE = 2.25 * 2**30


def repeat_commands(node_ids: Sequence[str]) -> list[str]:
    """Returns for each test the command that runs it alone, ready for a shell."""
    return [f"scripts/test {shlex.quote(node_id)}" for node_id in dict.fromkeys(node_ids)]


def resident_bytes() -> int:
    """Returns the memory that this process holds; 0 where the system does not tell (no Linux)."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def release_programs() -> None:
    """Gives compiled programs back, which JAX otherwise keeps until the process ends."""
    jax.clear_caches()
    gc.collect()
    # The C library keeps freed memory, all of it once a test has set up a run on a CPU.
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
    """Bounds a worker's memory: rather between files, whose tests share programs."""
    yield
    ends_file = nextitem is None or nextitem.path != item.path
    if resident_bytes() > (_MOST_BETWEEN_FILES if ends_file else _MOST_WITHIN_A_FILE):
        release_programs()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Names the command that repeats each failure."""
    stats = terminalreporter.stats
    failed = [report.nodeid for kind in ("failed", "error") for report in stats.get(kind, ())]
    if failed:
        terminalreporter.section("to repeat")
        for command in repeat_commands(failed):
            terminalreporter.write_line(command)
