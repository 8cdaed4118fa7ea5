"""Tasks of students in each format, for any set of records with the fields that it needs."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Literal

from tlm_jax.data.formatted import EMBEDDED_VOCABULARY, carried_fields
from tlm_jax.data.record_sets import RecordSet
from tlm_jax.data.run_data import RunData
from tlm_jax.data.sources import Example, RecordSource
from tlm_jax.data.tasks import Task, register_task
from tlm_jax.data.teacher_lm.lines import PUBLISHED, Layout, as_asked, ranked_line
from tlm_jax.data.teacher_lm.students import STUDENT_FORMATS, sequences, student_format
from tlm_jax.vocabularies import Vocabulary

Learned = Literal["whole", "answers", "pairs", "letters"]
"""What of a sequence a student learns.

whole    targets alone, `T ANS ...`: plain language modelling, as published
answers  inputs `T`, targets ` ANS ...`: the same text for a decoder-only model, T without a loss
pairs    inputs `T`, targets `ANS ...`, both with an end token: for encoder-decoders
letters  inputs `T The answer is (`, targets `A).`, whatever the format: for evaluation
"""
_SUFFIXES: dict[Learned, str] = {"whole": "", "answers": "_answers", "pairs": "_pairs"}


class StudentSequences(RecordSource):
    """The sequences of a set's records in one format, those of one record behind each other.

    Args:
      records: the set.
      form: a name of `STUDENT_FORMATS`.
      learned: what of each is learned.
      layout: of the texts.
    """

    def __init__(
        self,
        records: RecordSet,
        form: str,
        learned: Learned = "whole",
        layout: Layout = PUBLISHED,
    ):
        student_format(form)
        self.splits = records.splits
        self._records, self._form, self._learned, self._layout = records, form, learned, layout
        self._data = RunData()

    def for_run(self, data: RunData) -> RecordSource:
        bound = copy.copy(self)
        bound._data = data
        return bound

    def check_split(self, split: str) -> None:
        self._records.check_split(split)

    def num_examples(self, split: str) -> int | None:
        self.check_split(split)
        if self._records.num_records(split, self._data) is None:
            return None
        return len(self._places(split))

    def example(self, split: str, index: int) -> Example:
        self.check_split(split)
        number, place = self._place(split, index)
        record = self._records.record(split, number, self._data)
        carried = carried_fields(as_asked(record, self._layout))
        if self._learned == "letters":
            inputs, targets = ranked_line(record, self._layout)
            return {**carried, "inputs": inputs, "targets": targets}
        inputs, targets = sequences(self._form, record, self._layout)[place]
        if self._learned == "whole":
            return {**carried, "targets": f"{inputs} {targets}"}
        space = " " if self._learned == "answers" else ""
        return {**carried, "inputs": inputs, "targets": f"{space}{targets}"}

    def _place(self, split: str, index: int) -> tuple[int, int]:
        """Returns the record of a sequence, and which of its sequences it is."""
        if self._records.num_records(split, self._data) is None:
            return divmod(index, len(student_format(self._form)))
        return self._places(split)[index]

    def _places(self, split: str) -> list[tuple[int, int]]:
        def find() -> list[tuple[int, int]]:
            count = self._records.num_records(split, self._data)
            assert count is not None
            forms = student_format(self._form)
            if len(forms) == 1:
                return [(number, 0) for number in range(count)]
            every = ((n, self._records.record(split, n, self._data)) for n in range(count))
            return [
                (n, place)
                for n, record in every
                for place in range(len(sequences(self._form, record, self._layout)))
            ]

        return self._data.once((self._records, self._form, self._layout, split), find)


def student_task(data_set: str, form: str, learned: Learned = "whole") -> str:
    """Returns the name of a task."""
    return f"{data_set}_teacherlm_{form}{_SUFFIXES[learned]}"


def rank_task(data_set: str) -> str:
    """Returns the name of the task whose letters are compared."""
    return f"{data_set}_teacherlm_rank"


def register_student_formats(
    name: str,
    records: RecordSet,
    *,
    formats: Iterable[str] = tuple(STUDENT_FORMATS),
    layout: Layout = PUBLISHED,
    vocabulary: Vocabulary | None = None,
    description: str = "",
) -> list[Task]:
    """Registers `{name}_teacherlm_{format}`, and the same with `_answers` and with `_pairs`.

    Beside these `{name}_teacherlm_rank`, whose prompts end where the letter of the answer stands:
    RANK_FORMAT "letter" compares letters there, as the official evaluation does.

    Args:
      name: of the data set.
      records: its records.
      formats: names of `STUDENT_FORMATS`.
      layout: of the texts.
      vocabulary: the one used where a run names none; None: the embedded one.
      description: one line for `tlm_jax.inspect --list`.
    """
    registered = [
        register_task(
            rank_task(name),
            StudentSequences(records, "text", "letters", layout),
            vocabulary=vocabulary or EMBEDDED_VOCABULARY,
            eos_features=("targets",),
            description=f"{description} [TeacherLM's evaluation by letters]".strip(),
        )
    ]
    for form in formats:
        for learned in _SUFFIXES:
            whole = learned == "whole"
            registered.append(
                register_task(
                    student_task(name, form, learned),
                    StudentSequences(records, form, learned, layout),
                    features=("targets",) if whole else ("inputs", "targets"),
                    vocabulary=vocabulary or EMBEDDED_VOCABULARY,
                    eos_features=("inputs", "targets") if learned == "pairs" else ("targets",),
                    description=f"{description} [TeacherLM's {form}, {learned}]".strip(),
                )
            )
    return registered
