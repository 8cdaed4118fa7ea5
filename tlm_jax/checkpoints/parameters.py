"""Loads the parameters alone, to start a run or an evaluation from a finished one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np

from tlm_jax.checkpoints import orbax_files
from tlm_jax.checkpoints.choice import (
    check_files,
    complete_steps,
    newest_whole,
    print_line,
    read_manifest,
)
from tlm_jax.checkpoints.manifest import ArraySpec
from tlm_jax.checkpoints.processes import gather, is_primary
from tlm_jax.checkpoints.structure import PARAMETERS, array_specs, check_same, nested
from tlm_jax.errors import UserError
from tlm_jax.types import Params


def restore_params(
    path: Path | str,
    abstract: Params | None = None,
    *,
    checksums: bool = True,
    announce: Callable[[str], None] = print_line,
) -> Params:
    """Returns the parameters saved by a training run; nothing on disk is changed.

    Args:
      path: a MODEL_DIR, its `checkpoints`, or one `checkpoints/STEP`. Of several checkpoints the
        newest whole one is taken; a damaged one is announced and passed over.
      abstract: the parameters wanted, as arrays or `ShapeDtypeStruct`s; leaves with a sharding
        come back so sharded, the others as NumPy arrays. None: all parameters, as NumPy arrays.
      checksums: whether to compare the files' checksums, if they were recorded.
      announce: is given one line for each checkpoint passed over.

    Raises:
      UserError: there is no checkpoint at `path`, none is whole, or it is of another model.
    """
    directory, steps = _find(Path(path))
    restored = newest_whole(
        directory, steps, lambda checkpoint: _restore_one(checkpoint, abstract, checksums)
    )
    for step, problem in restored.problems.items():
        if is_primary():
            announce(f"checkpoint {step} is damaged: {problem}; using checkpoint {restored.step}")
    return restored.value


def _find(path: Path) -> tuple[Path, list[int]]:
    """Returns the directory of checkpoints and the steps to try, oldest first."""
    if path.name.isdigit() and path.is_dir():
        return path.parent, [int(path.name)]
    for directory in (path / "checkpoints", path):
        steps = gather(complete_steps(directory))[0]
        if steps:
            return directory, steps
    what = "holds no checkpoint" if path.is_dir() else "does not exist"
    raise UserError(
        f"initial checkpoint {path} {what}: expected a MODEL_DIR of an earlier run, or one of its "
        "checkpoints (MODEL_DIR/checkpoints/STEP)"
    )


def _restore_one(path: Path, abstract: Params | None, checksums: bool) -> Params:
    found = read_manifest(path)
    prefix = PARAMETERS + "/"
    saved = {name: spec for name, spec in found.arrays.items() if name.startswith(prefix)}
    if abstract is None:
        wanted = nested({name: _struct(spec) for name, spec in saved.items()})
    else:
        wanted = {PARAMETERS: abstract}
        check_same(
            saved,
            array_specs(wanted),
            where=f"initial checkpoint {path}",
            remedy="Choose the model that it was trained with.",
        )
    check_files(path, found, contents=checksums)
    return orbax_files.read_arrays(path, wanted)[PARAMETERS]


def _struct(spec: ArraySpec) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(spec.shape, np.dtype(spec.dtype))
