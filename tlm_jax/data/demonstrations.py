"""Demonstrations: which solved questions stand before the one that is asked."""

from __future__ import annotations

import functools
import threading
from collections.abc import Hashable
from dataclasses import dataclass

from tlm_jax.data.generators.draws import Draws
from tlm_jax.data.location import places
from tlm_jax.data.record_sets import LoadedRecords, RecordSet
from tlm_jax.data.records import Record, read_records
from tlm_jax.errors import UserError


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


def set_demonstrations(settings: DemonstrationSettings) -> None:
    """Sets what in-context tasks use from now on; a run does this before it reads its data."""
    global _settings
    _settings = settings


def demonstration_settings() -> DemonstrationSettings:
    """Returns what `set_demonstrations` has set."""
    return _settings


class DemonstrationPool:
    """Draws demonstrations from a split of a record set.

    A draw is a pure function of seed and question, uniform without repetition. A record is never
    its own demonstration, and neither is another one with the same question and options. (The
    official code of FlanT5 specialization has no such exclusion.)

    Args:
      records: where demonstrations come from.
      split: of `records`.
      settings: fixed ones; None: those of the run, `demonstration_settings()`.
    """

    def __init__(
        self,
        records: RecordSet,
        split: str = "train",
        settings: DemonstrationSettings | None = None,
    ):
        self._records = records
        self._split = split
        self._settings = settings
        self._eligible: dict[Hashable, list[int]] = {}
        self._lock = threading.Lock()

    def draw(self, record: Record, *, with_rationale: bool) -> tuple[Record, ...]:
        """Returns the demonstrations of a question, different questions, in order.

        Args:
          record: the question that is asked.
          with_rationale: draw from records that have a rationale only.
        """
        settings = self._settings or demonstration_settings()
        records, split = self._pool(settings)
        if settings.ids:
            return tuple(_find(records, split, settings.ids))
        count = records.num_records(split)
        eligible = None if count is None else self._indices(records, split, with_rationale)
        size = _ENDLESS_POOL_SIZE if eligible is None else len(eligible)
        draws = Draws("demonstrations", settings.seed, record.dataset, record.id)
        chosen: list[Record] = []
        tried: set[int] = set()
        while len(chosen) < settings.num:
            if len(tried) == size:
                kind = " with a rationale" if with_rationale else ""
                raise UserError(
                    f"{records.name}: the {split} split has too few records{kind} for "
                    f"{settings.num} demonstrations ({len(chosen)} usable of {size}). "
                    "Ask for fewer or name a larger pool."
                )
            place = draws.below(size)
            if place in tried:
                continue
            tried.add(place)
            candidate = records.record(split, place if eligible is None else eligible[place])
            if all(_differ(candidate, other) for other in (record, *chosen)):
                chosen.append(candidate)
        return tuple(chosen)

    def _pool(self, settings: DemonstrationSettings) -> tuple[RecordSet, str]:
        if settings.pool_file is None:
            return self._records, self._split
        return _file_pool(settings.pool_file), "train"

    def _indices(self, records: RecordSet, split: str, with_rationale: bool) -> list[int]:
        """Returns the places of records that can be demonstrations, found once."""
        key = (records, with_rationale, places())
        with self._lock:
            if key not in self._eligible:
                count = records.num_records(split)
                assert count is not None
                every = ((i, records.record(split, i)) for i in range(count))
                self._eligible[key] = [
                    i for i, r in every if r.answer and (r.rationale or not with_rationale)
                ]
            return self._eligible[key]


_settings = DemonstrationSettings()

_ENDLESS_POOL_SIZE = 1 << 20


def _differ(one: Record, other: Record) -> bool:
    same_id = (one.dataset, one.id) == (other.dataset, other.id)
    return not same_id and one.content_key() != other.content_key()


@functools.lru_cache(maxsize=8)
def _file_pool(path: str) -> RecordSet:
    return LoadedRecords(path, {"train": lambda: read_records(path)})


def _find(records: RecordSet, split: str, ids: tuple[str, ...]) -> list[Record]:
    count = records.num_records(split)
    if count is None:
        raise UserError(f"{records.name} is endless: demonstrations cannot be named by id.")
    found = {r.id: r for r in (records.record(split, i) for i in range(count)) if r.id in ids}
    for name in ids:
        if name not in found:
            raise UserError(f"{records.name}: no record {name!r} in the {split} split.")
    return [found[name] for name in ids]
