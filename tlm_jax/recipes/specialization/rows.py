"""The task that students are trained on: a teacher's solutions in several formats, in order."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from tlm_jax.data import tasks
from tlm_jax.data.demonstrations import DemonstrationPool
from tlm_jax.data.formats import FORMATS, Format
from tlm_jax.data.formatted import EMBEDDED_VOCABULARY, carried_fields
from tlm_jax.data.records import Record, read_records
from tlm_jax.data.run_data import DemonstrationSettings, RunData
from tlm_jax.data.sources import Example, RecordSource
from tlm_jax.data.teacher_imports.examples import targets_of
from tlm_jax.data.teachers.join import UNTAUGHT
from tlm_jax.recipes.question_sets import records_of
from tlm_jax.recipes.specialization.mixture import Mixing, Mixture, RowOrder
from tlm_jax.vocabularies import Vocabulary

SPLIT = "train"
_EPOCH = 1_000_003
"""Between the seeds of two epochs' demonstrations."""


@dataclasses.dataclass(frozen=True)
class RowSettings:
    """What decides the rows of a run, beside the solutions.

    Attributes:
      mixture: of formats.
      mixing: how they become batches.
      demonstrations: of in-context formats.
      batch_size, micro_batches, seed: of the training run.
      max_inputs: most tokens of a prompt; of one with more the first demonstrations are left out.
    """

    mixture: Mixture
    mixing: Mixing
    demonstrations: DemonstrationSettings
    batch_size: int
    micro_batches: int
    seed: int
    max_inputs: int

    @property
    def task(self) -> str:
        """The name of the task: the same settings, the same name."""
        digest = hashlib.sha256(repr(self).encode()).hexdigest()[:12]
        return f"specialization_{digest}"


class Solutions:
    """A teacher's right solutions, and which of them each format has.

    Attributes:
      records: of a file, in its order.
    """

    def __init__(self, records: Sequence[Record], mixing: Mixing):
        """Takes the records; of those of one question the first is the first right one."""
        self.records = records
        self._mixing = mixing

    def rows(self, form: str) -> Sequence[int]:
        """Returns the places of the records that a format has."""
        if form in self._mixing.all_samples:
            return range(len(self.records))
        return self._first

    def sizes(self, mixture: Mixture) -> dict[str, int]:
        """Returns how many rows each format of a mixture has."""
        return {form: len(self.rows(form)) for form in mixture}

    @functools.cached_property
    def _first(self) -> Sequence[int]:
        first: dict[tuple[str, Any], int] = {}
        for place, record in enumerate(self.records):
            # A teacher's file need not number its questions.
            first.setdefault((record.question, record.options), place)
        return list(first.values())


class SolutionRows(RecordSource):
    """The rows of a run, endless, in the order in which they are trained on."""

    splits = (SPLIT,)

    def __init__(self, settings: RowSettings, pool: DemonstrationPool, vocabulary: Vocabulary):
        """Takes what decides the rows; the file of solutions is that of the run.

        Args:
          settings: of the rows.
          pool: where demonstrations come from.
          vocabulary: the student's.
        """
        self._settings, self._pool, self._vocabulary = settings, pool, vocabulary
        self._data = RunData()

    def for_run(self, data: RunData) -> SolutionRows:
        bound = SolutionRows(self._settings, self._pool, self._vocabulary)
        bound._data = data
        return bound

    def num_examples(self, split: str) -> int | None:
        self.check_split(split)
        return None

    def example(self, split: str, index: int) -> Example:
        self.check_split(split)
        place = self._order.place(index)
        form = FORMATS[place.form]
        record = self._solutions.records[self._solutions.rows(place.form)[place.row]]
        inputs, _ = self.prompt(record, form, place.epoch)
        told = {**carried_fields(record), "inputs": inputs}
        if form.cot:
            return {**told, "targets": targets_of(record)}
        return {**told, "targets": form.targets(record), UNTAUGHT: "the answer alone"}

    def prompt(self, record: Record, form: Format, epoch: int) -> tuple[str, int]:
        """Returns what the student reads, and how many demonstrations had no room.

        Raises:
          UserError: there are too few to draw from.
        """
        drawn = self._drawn(record, form, epoch) if form.in_context else ()
        for left_out in range(len(drawn) + 1):
            inputs = form.inputs(record, drawn[left_out:])
            if not drawn or self._fits(inputs):
                return inputs, left_out
        return form.inputs(record), len(drawn)

    @functools.cached_property
    def _solutions(self) -> Solutions:
        path = self._data.examples_file
        records = self._data.once(("solutions", path), lambda: tuple(read_records(path)))
        return Solutions(records, self._settings.mixing)

    @functools.cached_property
    def _order(self) -> RowOrder:
        settings = self._settings
        return RowOrder(
            settings.mixture,
            self._solutions.sizes(settings.mixture),
            settings.mixing,
            batch_size=settings.batch_size,
            micro_batches=settings.micro_batches,
            seed=settings.seed,
        )

    def _drawn(self, record: Record, form: Format, epoch: int) -> tuple[Record, ...]:
        settings, kind = self._settings.demonstrations, self._settings.mixing.demonstrations
        if kind == "each_epoch":
            seed = settings.seed + _EPOCH * epoch
            settings = dataclasses.replace(settings, seed=seed)
        return self._pool.draw(
            record,
            self._data,
            with_rationale=form.cot,
            settings=settings,
            itself=kind == "official",
        )

    def _fits(self, inputs: str) -> bool:
        most = self._settings.max_inputs - 1  # EOS
        # A token is a byte at least.
        return len(inputs) * 4 <= most or len(self._vocabulary.encode(inputs)) <= most


def registered(source: SolutionRows, settings: RowSettings) -> str:
    """Registers the rows of a run under the name of their settings; returns it."""
    name = settings.task
    if tasks.is_registered(name):
        tasks.unregister(name)
    tasks.register_task(
        name,
        source,
        vocabulary=EMBEDDED_VOCABULARY,
        description="A teacher's solutions as a recipe trains on them",
    )
    return name


def cut_prompts(
    source: SolutionRows, records: Sequence[Record], mixture: Mixture
) -> Mapping[str, int]:
    """Returns of how many of some records demonstrations are left out, by in-context format."""
    return {
        form: sum(source.prompt(record, FORMATS[form], 0)[1] > 0 for record in records)
        for form in mixture
        if FORMATS[form].in_context
    }


def training_pool(data_set: str, split: str) -> DemonstrationPool:
    """Returns the records of a data set's split, to draw demonstrations from.

    Raises:
      UserError: no such data set, or it has no records.
    """
    return DemonstrationPool(records_of(data_set), split)
