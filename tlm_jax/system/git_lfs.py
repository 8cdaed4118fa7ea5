"""Tells a file from the pointer that Git leaves in its place where Git LFS has not fetched it."""

from __future__ import annotations

from tlm_jax.errors import UserError

_START = b"version https://git-lfs.github.com/spec/"
START_BYTES = len(_START)


def refuse_pointer(content: bytes, where: str) -> None:
    """Refuses what begins as a pointer does, and not as any file of ours.

    Args:
      content: the file's first bytes, or all of it.
      where: what to call the file.

    Raises:
      UserError: it is a pointer.
    """
    if content.startswith(_START):
        raise UserError(
            f"{where} is a pointer of Git LFS and not the file itself: get it with `git lfs pull` "
            "in the repository, or download it"
        )
