"""Finds the newest checkpoint that is whole, the same one on every process."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax

from tlm_jax.checkpoints import manifest
from tlm_jax.checkpoints.manifest import Damaged, Manifest
from tlm_jax.checkpoints.processes import gather
from tlm_jax.errors import UserError


class Chosen(NamedTuple):
    """The newest whole checkpoint.

    Attributes:
      step: its step.
      value: what was read from it.
      problems: for each newer one that was passed over, newest first, what is wrong with it.
    """

    step: int
    value: Any
    problems: Mapping[int, str]


def complete_steps(directory: Path) -> list[int]:
    """Returns the steps of the complete checkpoints in `directory`, oldest first."""
    if not directory.is_dir():
        return []
    names = [path.name for path in directory.iterdir() if path.is_dir()]
    # Not all that `isdigit` takes is a number: "²".
    return sorted(int(name) for name in names if name.isascii() and name.isdigit())


def named_steps(path: Path) -> tuple[Path, list[int]]:
    """Returns the directory of checkpoints that a path names, and their steps, oldest first.

    Args:
      path: a MODEL_DIR, its `checkpoints`, or one `checkpoints/STEP`.
    """
    if path.name.isascii() and path.name.isdigit() and path.is_dir():
        return path.parent, [int(path.name)]
    for directory in (path / "checkpoints", path):
        steps = complete_steps(directory)
        if steps:
            return directory, steps
    return path, []


def newest_whole(directory: Path, steps: Sequence[int], read: Callable[[Path], Any]) -> Chosen:
    """Reads the checkpoints in turn, newest first, until one is whole.

    Args:
      directory: where they lie.
      steps: the steps to try, at least one, oldest first.
      read: reads one checkpoint. What it raises means that this one is damaged, except
        `UserError` (another model), which ends the search.

    Raises:
      UserError: all of them are damaged.
    """
    problems: dict[int, str] = {}
    for step in reversed(steps):
        try:
            return Chosen(step, read(directory / str(step)), problems)
        except UserError:
            raise
        except Damaged as damage:
            problems[step] = str(damage)
        except Exception as error:
            # Sizes and checksums were right, or not asked for, and yet Orbax cannot read it.
            problems[step] = f"cannot be read ({first_line(error)})"
    each = "; ".join(f"{step}: {problem}" for step, problem in problems.items())
    raise UserError(
        f"no usable checkpoint in {directory} ({each}). Bring the files back, or move the "
        "directory away to start over."
    )


def read_manifest(path: Path) -> Manifest:
    """Returns the manifest of a checkpoint.

    Raises:
      Damaged: on every process, if any of them cannot read it.
    """
    return _agreed(lambda: manifest.read(path))


def check_files(path: Path, found: Manifest, *, contents: bool) -> None:
    """Checks the files of a checkpoint, each process its share of them.

    Raises:
      Damaged: on every process, if any of them found a damaged file.
    """
    share = (jax.process_index(), jax.process_count())
    _agreed(lambda: manifest.verify(path, found, contents=contents, share=share))


def print_line(line: str) -> None:
    """Prints to standard error: how a checkpoint that was passed over is announced by default."""
    print(line, file=sys.stderr, flush=True)


def first_line(error: BaseException) -> str:
    """Returns the first line of an error's message, or its type where it has none."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _agreed(check: Callable[[], Any]) -> Any:
    """Calls `check`; if it raises Damaged on any process, raises it on all."""
    result, problem = None, None
    try:
        result = check()
    except Damaged as damage:
        problem = str(damage)
    for found in gather(problem):
        if found is not None:
            raise Damaged(found)
    return result
