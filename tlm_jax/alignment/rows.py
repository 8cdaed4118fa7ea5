"""Maps the rows of a teacher's cache onto what the student's tokenizer makes of their texts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from tlm_jax.alignment import dtw, offsets
from tlm_jax.alignment.aligned import Alignment, one_to_one
from tlm_jax.alignment.aligned_rows import AlignedRow
from tlm_jax.alignment.edit_costs import EditCosts
from tlm_jax.alignment.mapping import (
    HardTargets,
    LostMass,
    MappedSteps,
    Method,
    check_options,
    map_many,
)
from tlm_jax.alignment.vocabulary_map import VocabularyMap
from tlm_jax.errors import UserError
from tlm_jax.teacher_cache.steps import StepDistributions, TeacherRow
from tlm_jax.vocabularies.token_bytes import TokenTable

_ROWS = 256
"""Rows treated at a time, at most: more make NumPy's calls no cheaper and fall out of caches."""


class RowMapper:
    """Aligns and maps rows, many at a time.

    Args:
      teacher: tokens of the vocabulary that rows are written in.
      student: tokens of the student's vocabulary.
      method: "offsets" aligns by bytes; "dtw" does as published (see `offsets`, `dtw`).
      lost_mass: of candidates that the student cannot write (see `map_many`).
      hard: what becomes of tokens without a distribution (see `map_many`).
    """

    def __init__(
        self,
        teacher: TokenTable,
        student: TokenTable,
        *,
        method: Method = "offsets",
        lost_mass: LostMass = "tail",
        hard: HardTargets = "one_hot",
    ):
        check_options(method, lost_mass, hard)
        self.teacher, self.student = teacher, student
        self.method: Method = method
        self.lost_mass: LostMass = lost_mass
        self.hard: HardTargets = hard
        self.vocabulary_map = VocabularyMap.of(teacher, student)
        self._costs = EditCosts()
        self._student_texts = [text.replace(" ", "▁") for text in student.texts]

    def map_rows(
        self, rows: Sequence[TeacherRow], student_token_ids: Sequence[Int[np.ndarray, " _"]]
    ) -> list[MappedSteps]:
        """Returns the targets of every row's text.

        Args:
          rows: with candidates (`StepDistributions`).
          student_token_ids: of the same texts, EOS included where the student is to learn it.
            With "dtw" a text must be whole (cut the targets afterwards); with "offsets" it may be
            cut.

        Raises:
          UserError: as `map_many` does, and for a row of hidden states.
        """
        alignments = self.align(rows, student_token_ids)
        aligned_rows = [
            AlignedRow(row.token_ids, _candidates_of(row), alignment, ids, _name(row))
            for row, alignment, ids in zip(rows, alignments, student_token_ids)
        ]
        mapped = []
        for begin in range(0, len(rows), _ROWS):
            mapped += map_many(
                aligned_rows[begin : begin + _ROWS],
                self.vocabulary_map,
                method=self.method,
                lost_mass=self.lost_mass,
                hard=self.hard,
            )
        return mapped

    def align(
        self, rows: Sequence[TeacherRow], student_token_ids: Sequence[Int[np.ndarray, " _"]]
    ) -> list[Alignment]:
        """Returns the alignment of every row, EOS included."""
        teachers, students = [], []
        for row, ids in zip(rows, student_token_ids, strict=True):
            _check_ids(row.token_ids, self.teacher, _name(row))
            _check_ids(ids, self.student, f"student tokens for {_name(row)}")
            teachers.append(_without_eos(row.token_ids, self.teacher))
            students.append(_without_eos(ids, self.student))
        if self.vocabulary_map.is_identity:
            equal = [np.array_equal(t[: len(s)], s) for t, s in zip(teachers, students)]
        else:
            equal = [False] * len(rows)
        others = [k for k, is_equal in enumerate(equal) if not is_equal]
        aligned = dict(
            zip(others, self._align([teachers[k] for k in others], [students[k] for k in others]))
        )
        return [
            self._with_eos(aligned[k] if k in aligned else one_to_one(len(students[k])), row, ids)
            for k, (row, ids) in enumerate(zip(rows, student_token_ids))
        ]

    def _align(
        self, teachers: list[Int[np.ndarray, " _"]], students: list[Int[np.ndarray, " _"]]
    ) -> list[Alignment]:
        if self.method == "dtw":
            return dtw.align_batch(
                [[self.teacher.texts[i] for i in ids.tolist()] for ids in teachers],
                [[self._student_texts[i] for i in ids.tolist()] for ids in students],
                self._costs,
            )
        aligned = []
        for begin in range(0, len(teachers), _ROWS):
            batch = slice(begin, begin + _ROWS)
            aligned += offsets.align_batch(
                [[self.teacher.pieces[i] for i in ids.tolist()] for ids in teachers[batch]],
                [[self.student.pieces[i] for i in ids.tolist()] for ids in students[batch]],
            )
        return aligned

    def _with_eos(
        self, alignment: Alignment, row: TeacherRow, student_token_ids: Int[np.ndarray, " _"]
    ) -> Alignment:
        if len(student_token_ids) == len(alignment.counts):
            return alignment
        scored = len(row.token_ids) > 0 and row.token_ids[-1] == self.teacher.eos_id
        return alignment.with_token(len(row.token_ids) - 1 if scored else None)


def _name(row: TeacherRow) -> str:
    return f"teacher row {row.key} (example {row.example_id})"


def _candidates_of(row: TeacherRow) -> StepDistributions:
    if isinstance(row.steps, StepDistributions):
        return row.steps
    raise UserError(
        f"{_name(row)} holds hidden states, which cannot be mapped onto another vocabulary; fill "
        "the cache with the encoding 'topk' or 'sampled', or train a student that has the "
        "teacher's tokenizer."
    )


def _without_eos(ids: Int[np.ndarray, " _"], table: TokenTable) -> Int[np.ndarray, " _"]:
    return ids[:-1] if len(ids) and ids[-1] == table.eos_id else ids


def _check_ids(ids: Int[np.ndarray, " _"], table: TokenTable, whose: str) -> None:
    if len(ids) and not 0 <= ids.min() <= ids.max() < table.size:
        raise UserError(
            f"{whose}: token ids reach from {ids.min()} to {ids.max()}, but the vocabulary has "
            f"{table.size}; is it the tokenizer that wrote them?"
        )
