"""A temporary folder that does not stay behind: what a killed process left, the next deletes."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import weakref
from pathlib import Path

_LOCK = ".in_use"


class TemporaryFolder:
    """A folder of this process alone, below the system's directory for such files.

    It is deleted by `close`, else with this object, at the latest when the process ends. A lock,
    which the system frees however the process ends, tells the folders in use from those of
    processes that were killed.
    """

    def __init__(self, prefix: str):
        """Makes it, and deletes those of the same prefix that nobody uses any more."""
        for left in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
            _delete_unused(left)
        self.path = Path(tempfile.mkdtemp(prefix=prefix))
        # Before anything else can fail; a second call does nothing.
        self._delete = weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)
        self._unlock = weakref.finalize(self, os.close, _locked(self.path))

    def close(self) -> None:
        """Deletes it."""
        self._delete()
        self._unlock()


def _locked(folder: Path) -> int:
    descriptor = os.open(folder / _LOCK, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _delete_unused(folder: Path) -> None:
    """Deletes a folder that has a lock which nobody holds.

    One without a lock is passed over: it may be about to get one.
    """
    with contextlib.suppress(OSError):
        descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_NOFOLLOW)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(descriptor)
