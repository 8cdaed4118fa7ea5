"""What arms are made of: chains of thought and corrections, as rows that have room."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from tlm_jax.data.records import Record, read_records
from tlm_jax.errors import UserError
from tlm_jax.recipes.done import Done
from tlm_jax.recipes.lema import correcting, mistakes
from tlm_jax.recipes.lema.forms import Form, Pair
from tlm_jax.recipes.lema.sets import Arm, Corrected, Row
from tlm_jax.vocabularies import Vocabulary

FOREIGN = "questions_of_paths.jsonl"
"""Questions of wrong paths that are none of the data set's: test questions may be among them."""

LONG_PROMPT, LONG_ANSWER = "prompt longer than the row", "answer longer than the row"


@dataclasses.dataclass(frozen=True)
class Material:
    """What arms are made of: stages that are done.

    Attributes:
      found: pairs of a stage that found wrong paths and one that chose their corrections.
      evolved: files of further questions with solutions.
    """

    found: Sequence[tuple[Done, Done]]
    evolved: Sequence[Path] = ()

    def reads(self) -> dict[str, Path]:
        """Returns what arms read of it."""
        files: dict[str, Path] = {}
        for number, (paths, kept) in enumerate(self.found, 1):
            files[f"right paths {number}"] = paths.path(mistakes.RIGHT_FILE)
            files[f"corrections {number}"] = kept.path(correcting.KEPT)
        return files | {f"new questions {n}": path for n, path in enumerate(self.evolved, 1)}

    def kept(self) -> list[Record]:
        """Returns all corrections."""
        return [r for _, done in self.found for r in read_records(done.path(correcting.KEPT))]

    def right(self) -> list[Record]:
        """Returns all right paths."""
        return [r for done, _ in self.found for r in read_records(done.path(mistakes.RIGHT_FILE))]

    def new(self) -> list[Record]:
        """Returns all new questions."""
        return [record for path in self.evolved for record in read_records(path)]


class Writer:
    """Writes rows of one arm, those that have room, and counts the others."""

    def __init__(
        self,
        form: Form,
        arm: Arm,
        vocabulary: Vocabulary,
        lengths: Mapping[str, int],
        too_long: str,
    ):
        """Takes what decides the rows.

        Args:
          form: of the texts.
          arm: which fields are left out.
          vocabulary: the student's.
          lengths: most tokens of inputs and targets, their end included.
          too_long: "drop" or "error".
        """
        self._form, self._arm, self._vocabulary = form, arm, vocabulary
        self._lengths, self._too_long = lengths, too_long
        self.dropped: dict[str, int] = {}

    def chains(self, records: Sequence[Record]) -> list[Row]:
        """Returns the solutions that records have."""
        found = []
        for record in records:
            steps = self._form.gold(record)
            if steps is not None:
                found.append(self._row(f"{record.id}/chain", self._form.cot(record, steps)))
        return [row for row in found if row is not None]

    def right(self, records: Sequence[Record]) -> list[Row]:
        """Returns right paths."""
        rows = [
            self._row(f"{r.id}/chain", self._form.cot(r, tuple(r.get("path")))) for r in records
        ]
        return [row for row in rows if row is not None]

    def corrected(self, records: Sequence[Record]) -> list[Corrected]:
        """Returns corrections, and their solutions as chains."""
        found = []
        for record in records:
            correction, path = correcting.correction_of(record), tuple(record.get("path"))
            pair = self._form.correction(record, path, correction, self._arm.without)
            row = self._row(f"{record.id}/correction", pair)
            whole = self._form.cot(record, correction.chain(path))
            chain = None if row is None else self._row(f"{record.id}/corrected", whole)
            if row is not None and chain is not None:
                found.append(Corrected(row, chain))
        return found

    def _row(self, name: str, pair: Pair) -> Row | None:
        inputs = len(self._vocabulary.encode(pair.inputs)) + 1
        targets = len(self._vocabulary.encode(pair.targets)) + 1
        for reason, count, side in (
            (LONG_PROMPT, inputs, "inputs"),
            (LONG_ANSWER, targets, "targets"),
        ):
            if count > self._lengths[side]:
                if self._too_long == "error":
                    raise UserError(
                        f"{name}: {reason}, {count:,} tokens of {self._lengths[side]:,}: raise "
                        f"TASK_FEATURE_LENGTHS['{side}'], or set TOO_LONG to 'drop'"
                    )
                self.dropped[reason] = self.dropped.get(reason, 0) + 1
                return None
        return Row(name, pair, targets)


def record_of(row: Row) -> Record:
    """Returns a row as the tasks of examples read it."""
    bare = Record(row.id, "lema", "train", "text", row.pair.inputs, None, "")
    return bare.with_generated(inputs=row.pair.inputs, targets=row.pair.targets)


def parted(kept: Sequence[Record], number: int) -> tuple[list[Record], list[Record]]:
    """Returns the corrections that are compared on, and those that are trained on.

    Raises:
      UserError: nothing is left to train on.
    """
    if number >= len(kept) > 0:
        raise UserError(
            f"NUM_COMPARED is {number:,} of {len(kept):,} corrections, which leaves none to train "
            "on: lower it"
        )
    # Of all models and files alike.
    places = {round(n * len(kept) / number) for n in range(number)} if number else set()
    return [r for n, r in enumerate(kept) if n in places], [
        r for n, r in enumerate(kept) if n not in places
    ]
