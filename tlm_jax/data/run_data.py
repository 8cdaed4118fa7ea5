"""A run's settings of its data, a value that is passed to whatever reads and ends with it."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from tlm_jax.errors import UserError
from tlm_jax.system.home import expanded

ENVIRONMENT_VARIABLE = "TLM_JAX_DATA_DIR"

T = TypeVar("T")


@dataclass(frozen=True)
class DemonstrationSettings:
    """What a run may set about demonstrations, for all in-context tasks together.

    Attributes:
      num: how many.
      seed: another seed draws others.
      pool_file: a JSON Lines file of records to draw from, instead of the task's own pool.
      ids: record ids of the pool that are to be the demonstrations of every question, in this
        order, instead of a draw for each question; `num` is then not used.
    """

    num: int = 4
    seed: int = 0
    pool_file: str | None = None
    ids: tuple[str, ...] = ()


class RunData:
    """Where a run's data are, which demonstrations it shows, and what it has read of them so far.

    What has been read is kept here and not with the tasks, which outlive the run: two runs in one
    process share nothing, and a file that changed between them is read as it is now.

    Args:
      data_dir: the directory of data files; None: that of the environment variable.
      examples_file: the file that the `examples` tasks read, if any.
      demonstrations: of in-context tasks.
    """

    def __init__(
        self,
        data_dir: str | os.PathLike[str] | None = None,
        examples_file: str | os.PathLike[str] | None = None,
        demonstrations: DemonstrationSettings | None = None,
    ):
        self.demonstrations = demonstrations or DemonstrationSettings()
        self._data_dir = None if data_dir is None else expanded(data_dir)
        self._examples_file = None if examples_file is None else expanded(examples_file)
        self._read: dict[Hashable, Any] = {}
        self._lock = threading.RLock()  # what reads one thing may need another

    @property
    def data_dir(self) -> Path | None:
        """The directory of data files, or None where nobody has named one."""
        if self._data_dir is not None:
            return self._data_dir
        named = os.environ.get(ENVIRONMENT_VARIABLE)
        return expanded(named) if named else None

    @property
    def examples_file(self) -> Path:
        """The file that the `examples` tasks read; UserError where nobody has named one."""
        if self._examples_file is None:
            raise UserError(
                "the `examples` tasks read a file of records and none is named: set EXAMPLES_FILE, "
                "such as the examples.jsonl that `python -m tlm_jax.cache_teacher` writes."
            )
        return self._examples_file

    def once(self, key: Hashable, read: Callable[[], T]) -> T:
        """Returns what `read` gives, which is called the first time only; from any thread."""
        whole_key = key, self.data_dir
        with self._lock:
            if whole_key not in self._read:
                self._read[whole_key] = read()
            return self._read[whole_key]

    def find_file(self, wanted_by: str, names: Sequence[str], origin: str) -> tuple[str, Path]:
        """Returns the first of `names` that exists in the data directory, and its path.

        Each name is looked for as it is and with '.gz' behind it.

        Args:
          wanted_by: what needs the file, such as 'gsm8k, split train'.
          names: accepted paths relative to the data directory, in order of preference.
          origin: where to get the file, for the error.

        Raises:
          UserError: no directory is named, or none of the files is in it.
        """
        directory = self.data_dir
        remedy = f"Wanted: {' or '.join(names)}. To get it: {origin}."
        if directory is None:
            raise UserError(
                f"{wanted_by}: no data directory is named. Set DATA_DIR in gin or "
                f"{ENVIRONMENT_VARIABLE} in the environment. {remedy}"
            )
        if not directory.is_dir():
            raise UserError(f"{wanted_by}: the data directory {directory} does not exist. {remedy}")
        for name in names:
            for path in (directory / name, directory / f"{name}.gz"):
                if path.exists():
                    return name, path
        raise UserError(f"{wanted_by}: no such file in {directory}. {remedy}")
