"""Agreement of two tokenizers on given texts, before any teacher is asked."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Sequence

import numpy as np

from tlm_jax.alignment.mapping import Coverage, Kind, Method
from tlm_jax.alignment.rows import RowMapper
from tlm_jax.teacher_cache.steps import StepDistributions, TeacherRow
from tlm_jax.vocabularies import Vocabulary
from tlm_jax.vocabularies.token_bytes import token_table


@dataclasses.dataclass
class Agreement:
    """What became of texts' student tokens.

    Attributes:
      texts: how many texts.
      coverage: soft and hard tokens.
      hard: how often which student piece was hard with which teacher tokens.
    """

    texts: int = 0
    coverage: Coverage = dataclasses.field(default_factory=Coverage)
    hard: collections.Counter[tuple[str, tuple[str, ...]]] = dataclasses.field(
        default_factory=collections.Counter
    )


class Survey:
    """Aligns texts as if a teacher had scored them.

    Args:
      teacher: the teacher's vocabulary.
      student: the student's.
      method: how to align.
    """

    def __init__(self, teacher: Vocabulary, student: Vocabulary, method: Method):
        self._teacher, self._student = teacher, student
        self._mapper = RowMapper(token_table(teacher), token_table(student), method=method)
        self.agreement = Agreement()

    def add(self, texts: Sequence[str]) -> None:
        """Counts what becomes of some more texts' tokens, EOS included."""
        rows = [
            _scored(np.append(ids, np.int32(self._teacher.eos_id)))
            for ids in self._teacher.encode_batch(texts)
        ]
        student_ids = [
            np.append(ids, np.int32(self._student.eos_id))
            for ids in self._student.encode_batch(texts)
        ]
        alignments = self._mapper.align(rows, student_ids)
        mapped = self._mapper.map_rows(rows, student_ids)
        for row, ids, alignment, result in zip(rows, student_ids, alignments, mapped):
            self.agreement.texts += 1
            self.agreement.coverage += result.coverage
            for j in np.flatnonzero(result.kinds != Kind.SOFT).tolist():
                tokens = (int(row.token_ids[i]) for i in alignment.steps_of(j))
                written = tuple(self._mapper.teacher.texts[i] for i in tokens)
                self.agreement.hard[self._student.piece(int(ids[j])), written] += 1


def _scored(ids: np.ndarray) -> TeacherRow:
    """Returns a row of a teacher that is certain of every token."""
    count = len(ids)
    steps = StepDistributions(
        ids=ids[:, None],
        logprobs=np.zeros((count, 1), np.float32),
        tail_logprobs=np.full(count, -np.inf, np.float32),
        weights=np.ones(count, np.float32),
    )
    return TeacherRow("", "", ids, steps)
