"""Notes of stages on disk: which are done, what decided them, what they wrote and counted."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from tlm_jax.checkpoints.fingerprint import model_fingerprint
from tlm_jax.checkpoints.pretrained import open_pretrained
from tlm_jax.errors import UserError
from tlm_jax.runs.training import files
from tlm_jax.system.file_digest import file_digest

Kind = Literal["generation", "training", "evaluation", "other"]
Figures = dict[str, Any]
"""What a stage counted, by name; JSON."""

DONE, STARTED = "stage.json", "started.json"
REPLACED = "replaced"
"""Where stages lie that were done again, below the recipe's directory; yours to delete."""


@dataclasses.dataclass(frozen=True)
class Done:
    """A stage that is done, as `stage.json` has it.

    Attributes:
      name, kind: of the stage.
      folder: where it lies.
      figures: what it counted.
      seconds: wall time of the start that finished it.
      starts: how often it was started; more than once after a kill.
      compilations: programs compiled in that start.
      decided_by: its settings, and fingerprints of what it read.
      wrote: fingerprints of what it wrote.
    """

    name: str
    kind: Kind
    folder: Path
    figures: Figures
    seconds: float
    starts: int
    compilations: int
    decided_by: Mapping[str, Any]
    wrote: Mapping[str, str]

    def path(self, name: str) -> Path:
        """Returns where something that it wrote lies."""
        return self.folder / name


def described(value: Any) -> Any:
    """Returns a configuration as JSON, dataclasses with their names, for a stage's settings."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: described(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return {"": type(value).__name__, **fields}
    if isinstance(value, Mapping):
        return {str(name): described(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [described(one) for one in value]
    return value if isinstance(value, str | int | float | bool | None) else repr(value)


def fingerprint(path: Path) -> str:
    """Returns a hash of a file's content, or of the model in a directory, asset:NAME included.

    Raises:
      UserError: there is none.
    """
    if path.is_dir() or str(path).startswith("asset:"):
        return model_fingerprint(open_pretrained(str(path)))
    return file_digest(path)[:16]


def finished(directory: Path) -> list[Done]:
    """Returns all stages in a recipe's directory that are done, in the order in which they were."""
    found = [
        (path.stat().st_mtime_ns, done)
        for path in directory.rglob(DONE)
        if REPLACED not in path.relative_to(directory).parts
        and (done := read_done(path.parent)) is not None
    ]
    return [done for _, done in sorted(found, key=lambda one: one[0])]


def under_way(directory: Path) -> Iterator[str]:
    """Yields the names of stages that were started and are not done."""
    for path in sorted(directory.rglob(STARTED)):
        name = path.parent.relative_to(directory)
        if REPLACED not in name.parts and read_done(path.parent) is None:
            yield str(name)


def fingerprint_or_none(path: Path) -> str | None:
    """Returns the same; None where there is none."""
    with contextlib.suppress(UserError):
        return fingerprint(path)
    return None


def read_done(folder: Path) -> Done | None:
    """Returns the stage in a folder, where it is done."""
    fields = read_json(folder / DONE)
    if fields is None:
        return None
    try:
        return Done(folder=folder, **fields)
    except TypeError:
        return None  # of another version


def read_json(path: Path) -> dict[str, Any] | None:
    """Returns an object in a file; None where there is none, or not a whole one."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None  # not there, or not whole
    return found if isinstance(found, dict) else None


def write_json(path: Path, value: Any) -> None:
    """Writes a value whole or not at all; process 0 only."""
    files.write_text(path, json.dumps(value, indent=1, ensure_ascii=False, default=repr) + "\n")
