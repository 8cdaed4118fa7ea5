"""Keeps two processes from writing into one directory."""

from __future__ import annotations

import os
from pathlib import Path

from tlm_jax.errors import UserError

FILE_NAME = ".lock"


def lock_directory(directory: Path) -> int:
    """Locks `directory` for this process; the system unlocks it when the process ends, however.

    Returns:
      A file descriptor; closing it unlocks. The same process may lock again.

    Raises:
      UserError: another process has locked it.
    """
    descriptor = os.open(directory / FILE_NAME, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        import fcntl

        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except ImportError:
        return descriptor  # Not a POSIX system.
    except (BlockingIOError, PermissionError):
        owner = os.read(descriptor, 100).decode(errors="replace").strip()
        os.close(descriptor)
        raise UserError(
            f"{directory} is in use by another process ({owner or 'of unknown name'}): "
            "wait for it, stop it, or choose another directory"
        ) from None
    except OSError:
        return descriptor  # A file system without locks.
    os.truncate(descriptor, 0)
    os.pwrite(descriptor, f"process {os.getpid()} on {os.uname().nodename}\n".encode(), 0)
    return descriptor
