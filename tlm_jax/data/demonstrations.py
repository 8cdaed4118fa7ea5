"""Demonstrations: which solved questions stand before the one that is asked."""

from __future__ import annotations

from tlm_jax.data.generators.draws import Draws
from tlm_jax.data.record_sets import LoadedRecords, RecordSet
from tlm_jax.data.records import Record, read_records
from tlm_jax.data.run_data import DemonstrationSettings, RunData
from tlm_jax.errors import UserError


class DemonstrationPool:
    """Draws demonstrations from a split of a record set.

    A draw is a pure function of seed and question, uniform without repetition. A record is never
    its own demonstration, and neither is another one that asks the same, in whatever order of the
    options and punctuation. (The official code of FlanT5 specialization has no such exclusion.)

    Args:
      records: where demonstrations come from.
      split: of `records`.
      settings: fixed ones; None: those of the run.
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

    def draw(
        self,
        record: Record,
        data: RunData,
        *,
        with_rationale: bool,
        settings: DemonstrationSettings | None = None,
        itself: bool = False,
    ) -> tuple[Record, ...]:
        """Returns the demonstrations of a question, different questions, in order.

        Args:
          record: the question that is asked.
          data: of the run, whose settings say how many and from where.
          with_rationale: draw from records that have a rationale only.
          settings: instead of those.
          itself: whether the question may be among them, as in the official code.
        """
        settings = settings or self._settings or data.demonstrations
        records, split = self._pool(settings, data)
        if settings.ids:
            found = data.once(
                (self, "named", settings), lambda: _find(records, split, settings.ids, data)
            )
            return tuple(found)
        count = records.num_records(split, data)
        eligible = None if count is None else _indices(records, split, with_rationale, data)
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
            index = place if eligible is None else eligible[place]
            candidate = records.record(split, index, data)
            others = chosen if itself else (record, *chosen)
            if all(_differ(candidate, other) for other in others):
                chosen.append(candidate)
        return tuple(chosen)

    def _pool(self, settings: DemonstrationSettings, data: RunData) -> tuple[RecordSet, str]:
        if settings.pool_file is None:
            return self._records, self._split
        path = settings.pool_file
        return data.once(("demonstration pool", path), lambda: _file_pool(path)), "train"


_ENDLESS_POOL_SIZE = 1 << 20


def _differ(one: Record, other: Record) -> bool:
    same_id = (one.dataset, one.id) == (other.dataset, other.id)
    return not same_id and one.question_words() != other.question_words()


def _indices(records: RecordSet, split: str, with_rationale: bool, data: RunData) -> list[int]:
    """Returns the places of records that can be demonstrations, found once a run."""

    def find() -> list[int]:
        count = records.num_records(split, data)
        assert count is not None
        every = ((i, records.record(split, i, data)) for i in range(count))
        return [i for i, r in every if r.answer and (r.rationale or not with_rationale)]

    return data.once((records, "demonstrations", split, with_rationale), find)


def _file_pool(path: str) -> RecordSet:
    return LoadedRecords(path, {"train": lambda _: read_records(path)})


def _find(records: RecordSet, split: str, ids: tuple[str, ...], data: RunData) -> list[Record]:
    count = records.num_records(split, data)
    if count is None:
        raise UserError(f"{records.name} is endless: demonstrations cannot be named by id.")
    every = (records.record(split, i, data) for i in range(count))
    found = {r.id: r for r in every if r.id in ids}
    for name in ids:
        if name not in found:
            raise UserError(f"{records.name}: no record {name!r} in the {split} split.")
    return [found[name] for name in ids]
