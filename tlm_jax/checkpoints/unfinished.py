"""A directory that appears under its name when all of it is written, and not at all otherwise."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from tlm_jax.checkpoints import lock
from tlm_jax.checkpoints.write_failure import full_disk, reason_and_file
from tlm_jax.errors import UserError

_SUFFIX = ".converting"


@contextlib.contextmanager
def unfinished_directory(destination: Path) -> Iterator[Path]:
    """Gives a directory to fill, which becomes the destination if all goes well and else goes.

    What a killed conversion left is cleared away; what another one is writing, or anything else of
    that name, is not.
    """
    directory = destination.with_name(destination.name + _SUFFIX)
    made = [parent for parent in destination.parents if not parent.exists()]
    locked = None
    try:
        locked = _claim(directory)
        yield directory
        (directory / lock.FILE_NAME).unlink()
        os.rename(directory, destination)
    except BaseException as error:
        if locked is not None:
            shutil.rmtree(directory, ignore_errors=True)
        for parent in made:
            with contextlib.suppress(OSError):
                parent.rmdir()
        reason, remedy = full_disk(error), ". Make room and try again"
        if reason is None and isinstance(error, OSError):
            reason, remedy = reason_and_file(error), ""
        if reason is not None:
            raise UserError(f"{destination} was not written: {reason}{remedy}") from error
        raise
    finally:
        if locked is not None:
            os.close(locked)


def _claim(directory: Path) -> int:
    """Makes an empty directory for this process alone, and returns the lock's descriptor."""
    # A conversion's has a lock from the start.
    left_by_one = directory.is_dir() and (
        (directory / lock.FILE_NAME).is_file() or not any(directory.iterdir())
    )
    if os.path.lexists(directory) and not left_by_one:
        raise UserError(
            f"{directory} is in the way: the conversion would be written there first, and no "
            "conversion left it; move it or name another destination"
        )
    directory.mkdir(parents=True, exist_ok=True)
    locked = lock.lock_directory(directory)
    for child in directory.iterdir():
        if child.is_dir():
            shutil.rmtree(child)
        elif child.name != lock.FILE_NAME:
            child.unlink()
    return locked
