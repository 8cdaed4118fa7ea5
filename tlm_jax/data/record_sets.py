"""Record sets: where the records of a data set come from, by split and index."""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterable, Mapping, Sequence

from tlm_jax.data.records import Record
from tlm_jax.data.run_data import RunData
from tlm_jax.errors import UserError, nearest

Loader = Callable[[RunData], Iterable[Record]]
"""Reads the records of a split from where the run's data are."""


class RecordSet(abc.ABC):
    """The records of a data set, in any order. Constructing one reads no file.

    Attributes:
      name: of the data set.
      splits: those that can be read.
      unreadable: splits that must not be read, with the reason, such as the training split of a
        set that is for evaluation only.
    """

    name: str
    splits: tuple[str, ...]
    unreadable: Mapping[str, str]

    @abc.abstractmethod
    def num_records(self, split: str, data: RunData) -> int | None:
        """Returns how many records a split has; None: endless."""

    @abc.abstractmethod
    def record(self, split: str, index: int, data: RunData) -> Record:
        """Returns record `index` of a split."""

    def check_split(self, split: str) -> None:
        """Raises UserError where a split cannot be read."""
        if split in self.unreadable:
            raise UserError(f"{self.name} has no split {split!r}: {self.unreadable[split]}")
        if split not in self.splits:
            raise UserError(
                f"{self.name} has no split {split!r}.{nearest(split, self.splits)} "
                f"It has {', '.join(self.splits)}."
            )


class GeneratedRecords(RecordSet):
    """Endless records, each a pure function of split and index."""

    def __init__(self, name: str, splits: Sequence[str], make: Callable[[str, int], Record]):
        self.name = name
        self.splits = tuple(splits)
        self.unreadable = {}
        self._make = make

    def num_records(self, split: str, data: RunData) -> int | None:
        self.check_split(split)
        return None

    def record(self, split: str, index: int, data: RunData) -> Record:
        self.check_split(split)
        return self._make(split, index)


class LoadedRecords(RecordSet):
    """Records that are read as a whole, a split at a time, when one is first asked for.

    They are kept with the run's data, not here.

    Args:
      name: of the data set.
      loaders: by split, what reads it.
      unreadable: splits that must not be read, with the reason.
    """

    def __init__(
        self,
        name: str,
        loaders: Mapping[str, Loader],
        unreadable: Mapping[str, str] | None = None,
    ):
        self.name = name
        self.splits = tuple(loaders)
        self.unreadable = dict(unreadable or {})
        self._loaders = dict(loaders)

    def records(self, split: str, data: RunData) -> Sequence[Record]:
        """Returns all records of a split, read once a run."""
        self.check_split(split)
        return data.once((self, split), lambda: tuple(self._loaders[split](data)))

    def num_records(self, split: str, data: RunData) -> int | None:
        return len(self.records(split, data))

    def record(self, split: str, index: int, data: RunData) -> Record:
        return self.records(split, data)[index]
