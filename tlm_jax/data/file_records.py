"""Record sets read from files of the data directory, in the uniform form or as published."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from tlm_jax.data.generators.draws import split_of
from tlm_jax.data.record_sets import LoadedRecords, Loader
from tlm_jax.data.records import Record, read_records
from tlm_jax.data.run_data import RunData

Reader = Callable[[Path], Iterable[Record]]
Candidate = tuple[str, Reader]
"""An accepted path below the data directory, and what reads a file found there."""


def uniform(name: str) -> Candidate:
    """Returns the candidate `{name}.jsonl`, records in the uniform form."""
    return f"{name}.jsonl", read_records


def official(
    read: Callable[[Path, str], Iterable[Record]], split: str, *names: str
) -> list[Candidate]:
    """Returns candidates of published files that `read(path, split)` reads."""
    return [(name, functools.partial(_read_official, read, split)) for name in names]


def file_records(
    name: str,
    origin: str,
    splits: Mapping[str, Sequence[Candidate]],
    *,
    unreadable: Mapping[str, str] | None = None,
    hold_out_validation: bool = False,
) -> LoadedRecords:
    """Returns the records of a data set whose splits are files.

    Args:
      name: of the data set.
      origin: where to get the files, for the error that says they are absent.
      splits: by split, the accepted files in order of preference.
      unreadable: splits that must not be read, with the reason.
      hold_out_validation: for a source without a development split: 'validation' is 5 % of the
        training records, chosen by a hash of question and options, in whatever order these are,
        'train' is the rest, and 'train_full' is all of them.
    """
    loaders: dict[str, Loader] = {
        split: functools.partial(_load, name, split, origin, candidates)
        for split, candidates in splits.items()
    }
    if hold_out_validation:
        full = loaders.pop("train")
        held_out = functools.partial(_select, full, True)
        loaders = {
            "train": functools.partial(_select, full, False),
            "validation": held_out,
            "train_full": full,
            **loaders,
        }
    return LoadedRecords(name, loaders, unreadable)


def is_held_out(record: Record) -> bool:
    """Whether a training record belongs to the validation split made by hash (5 %)."""
    return split_of(("question", record.content_key())) == "validation"


def _load(
    name: str, split: str, origin: str, candidates: Sequence[Candidate], data: RunData
) -> Iterable[Record]:
    readers = dict(candidates)
    found, path = data.find_file(f"{name}, split {split!r}", list(readers), origin)
    return readers[found](path)


def _select(full: Loader, validation: bool, data: RunData) -> list[Record]:
    return [r for r in full(data) if is_held_out(r) == validation]


def _read_official(
    read: Callable[[Path, str], Iterable[Record]], split: str, path: Path
) -> Iterable[Record]:
    return read(path, split)
