"""Freed memory comes back without page faults."""

import platform
import subprocess
import sys

import pytest

SCRIPT = """
import resource, sys
import numpy as np
from tlm_jax.training.host_memory import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(16 << 20)  # 128 MiB, freed at once
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

first = faults()
assert keep_freed_memory()
faults()
print(first, faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
def test_large_arrays_reuse_their_pages():
    # A process of its own: the setting holds for good.
    output = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True)
    assert output.returncode == 0, output.stderr
    without, with_it = map(int, output.stdout.split())
    assert without > 50
    assert with_it < without / 10
