"""Keeps two processes from writing into a cache as the same host."""

from __future__ import annotations

import os
from pathlib import Path

from tlm_jax.errors import UserError


def lock_host(directory: Path, host: int) -> int:
    """Locks a host's part of a cache; ends with the process, however that ends.

    Returns:
      A file descriptor; closing it unlocks.

    Raises:
      UserError: another process holds the lock.
      OSError: the directory cannot be written.
    """
    descriptor = os.open(directory / f".lock-{host:05d}", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise UserError(
            f"another process is writing {directory} as host {host}; wait for it, or give each "
            "process its own HOST_INDEX of NUM_HOSTS."
        ) from None
    except (ImportError, OSError):
        pass  # Not a POSIX system, or a file system without locks.
    return descriptor
