"""Memory that this process has freed: kept for the next step, or given back."""

from __future__ import annotations

import ctypes
import platform

# Parameters of mallopt(3), from glibc's malloc.h.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -2, -3, -4, -8


def keep_freed_memory() -> bool:
    """Tells glibc's malloc to keep what it gets from the kernel; elsewhere does nothing.

    XLA on CPU allocates a step's temporary memory anew each step. malloc maps such large pieces
    and unmaps them when freed, so that the kernel clears and maps every page again: 0.3 million
    page faults and 7 % of the time of a step with 1.2 GB. The price is that the process stays as
    large as it ever was, and that allocating threads share one lock.

    Call it before JAX starts, since threads keep the arenas that they have. Returns whether it
    took effect.
    """
    return _set((_ARENA_MAX, 1), (_MMAP_MAX, 0), (_TRIM_THRESHOLD, -1), (_TOP_PAD, 64 << 20))


def return_freed_memory() -> bool:
    """Tells glibc's malloc to give back every piece of 1 MiB or more at once; elsewhere nothing.

    By itself malloc takes pieces of up to 32 MiB from heaps of its threads once it has seen one
    freed, and what lies between them stays with the process: a conversion through blocks and
    chunks of such sizes peaked at 430 MB instead of 290. Returns whether it took effect.
    """
    return _set((_MMAP_THRESHOLD, 1 << 20))


def _set(*settings: tuple[int, int]) -> bool:
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return all(mallopt(parameter, value) == 1 for parameter, value in settings)
