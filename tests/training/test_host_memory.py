"""Freed memory comes back without page faults, or goes to the system at once."""

import platform
import subprocess
import sys

import pytest

KEPT = """
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

GIVEN_BACK = """
import numpy as np
from tlm_jax.training.host_memory import return_freed_memory

def resident():
    pages = int(open("/proc/self/statm").read().split()[1])
    return pages * 4096 / 2**20

assert return_freed_memory()
np.ones(3 << 20)  # 24 MiB: malloc would now take the next of this size from its heap
before = resident()
pieces = [np.ones(1 << 20) for _ in range(16)]  # 8 MiB each
held = resident() - before
pieces = pieces[-1:]
print(held, resident() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
def test_large_arrays_reuse_their_pages():
    # A process of its own: the setting holds for good.
    output = subprocess.run([sys.executable, "-c", KEPT], capture_output=True, text=True)
    assert output.returncode == 0, output.stderr
    without, with_it = map(int, output.stdout.split())
    assert without > 50
    assert with_it < without / 10


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
@pytest.mark.skipif(platform.system() != "Linux", reason="reads /proc")
def test_freed_pieces_below_one_in_use_go_back_to_the_system():
    """The last of 16 pieces stays: without the setting the heap below it would stay too."""
    output = subprocess.run([sys.executable, "-c", GIVEN_BACK], capture_output=True, text=True)
    assert output.returncode == 0, output.stderr
    held, left = map(float, output.stdout.split())
    assert held > 120
    assert left < 16
