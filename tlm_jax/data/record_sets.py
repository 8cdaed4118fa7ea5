"""Record sets: where the records of a data set come from, by split and index."""

from __future__ import annotations

import abc
import threading
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence

from tlm_jax.data.location import places
from tlm_jax.data.records import Record
from tlm_jax.errors import UserError, nearest


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
    def num_records(self, split: str) -> int | None:
        """Returns how many records a split has; None: endless."""

    @abc.abstractmethod
    def record(self, split: str, index: int) -> Record:
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

    def num_records(self, split: str) -> int | None:
        self.check_split(split)
        return None

    def record(self, split: str, index: int) -> Record:
        self.check_split(split)
        return self._make(split, index)


class LoadedRecords(RecordSet):
    """Records that are read as a whole, a split at a time, when one is first asked for.

    They are read again where the data directory or the file of examples is another one.

    Args:
      name: of the data set.
      loaders: by split, what reads it.
      unreadable: splits that must not be read, with the reason.
    """

    def __init__(
        self,
        name: str,
        loaders: Mapping[str, Callable[[], Iterable[Record]]],
        unreadable: Mapping[str, str] | None = None,
    ):
        self.name = name
        self.splits = tuple(loaders)
        self.unreadable = dict(unreadable or {})
        self._loaders = dict(loaders)
        self._records: dict[Hashable, Sequence[Record]] = {}
        self._lock = threading.Lock()

    def records(self, split: str) -> Sequence[Record]:
        """Returns all records of a split."""
        self.check_split(split)
        key = (split, places())
        with self._lock:
            if key not in self._records:
                self._records[key] = tuple(self._loaders[split]())
            return self._records[key]

    def num_records(self, split: str) -> int | None:
        return len(self.records(split))

    def record(self, split: str, index: int) -> Record:
        return self.records(split)[index]
