"""The map from teacher tokens to student pieces of the same text."""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Bool, Int32

from tlm_jax.alignment.offsets import WHITESPACE
from tlm_jax.vocabularies.token_bytes import TokenTable

SAME, WITH_SPACE, WITHOUT_SPACE = range(3)


@dataclasses.dataclass(frozen=True, eq=False)
class VocabularyMap:
    """From teacher ids to student ids, -1 where the student has no such piece.

    A teacher token maps to the one student piece of the same bytes, and EOS to EOS; special ids
    map to nothing else and nothing else maps to them. This is the published rule too: the token's
    text with `▁` for a space must be in the student's vocabulary.

    Attributes:
      maps: three maps. `SAME`: the piece of the same bytes. `WITH_SPACE`: of the same bytes after
        one space, for a student's piece that carries a space which the teacher wrote before
        (`In` to `▁In`); where the student's vocabulary cannot write a newline, so that it takes
        each run of whitespace for a space, the teacher's leading whitespace is dropped first.
        `WITHOUT_SPACE`: without the leading space, for the first token of a teacher that puts a
        space in front of every text.
      is_whitespace: teacher tokens that are whitespace only.
      teacher_eos: ends the teacher's sequences; None where that is not known.
      student_eos: likewise.
      is_identity: the vocabularies are equal.
    """

    maps: Int32[np.ndarray, "3 V"]
    is_whitespace: Bool[np.ndarray, " V"]
    teacher_eos: int | None
    student_eos: int | None
    is_identity: bool

    @classmethod
    def of(cls, teacher: TokenTable, student: TokenTable) -> VocabularyMap:
        """Returns the map between the vocabularies of two token tables."""
        # Where a vocabulary has a piece and a fallback for the same byte, the fallback stands
        # first, and its tokenizer writes the piece: the later one is kept.
        found = {piece: i for i, piece in enumerate(student.pieces) if i not in student.special}
        found.pop(b"", None)
        one_space = not any(b"\n" in piece for piece in student.pieces)
        maps = np.full((3, teacher.size), -1, np.int32)
        for i, piece in enumerate(teacher.pieces):
            if i in teacher.special or not piece:
                continue
            maps[SAME, i] = found.get(piece, -1)
            bare = piece.lstrip(WHITESPACE) if one_space else piece
            maps[WITH_SPACE, i] = found.get(b" " + bare, -1) if bare else -1
            maps[WITHOUT_SPACE, i] = found.get(piece.removeprefix(b" "), -1)
        is_identity = (teacher.pieces, teacher.special, teacher.eos_id) == (
            student.pieces,
            student.special,
            student.eos_id,
        )
        if is_identity:
            maps[SAME] = np.arange(teacher.size)
        if teacher.eos_id is not None and student.eos_id is not None:
            maps[:, teacher.eos_id] = student.eos_id
        return cls(
            maps=maps,
            is_whitespace=np.array(
                [bool(piece) and not piece.strip(WHITESPACE) for piece in teacher.pieces], bool
            ),
            teacher_eos=teacher.eos_id,
            student_eos=student.eos_id,
            is_identity=is_identity,
        )
