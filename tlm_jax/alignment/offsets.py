"""Aligns tokens by the bytes of the text that they stand for, in linear time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Int64

from tlm_jax.alignment.aligned import Alignment, split_ranges
from tlm_jax.alignment.byte_diff import match_bytes

WHITESPACE = b" \t\n\r\v\f"
_IS_WHITESPACE = np.isin(np.arange(256), np.frombuffer(WHITESPACE, np.uint8))


def align(teacher: Sequence[bytes], student: Sequence[bytes]) -> Alignment:
    """Aligns one text's tokens; see `align_batch`."""
    return align_batch([teacher], [student])[0]


def align_batch(
    teachers: Sequence[Sequence[bytes]], students: Sequence[Sequence[bytes]]
) -> list[Alignment]:
    """Aligns each student token to the teacher steps whose bytes it shares.

    - Where both write the same text, but for a space that one of them puts in front of all, spans
      of bytes decide.
    - Otherwise whitespace counts for nothing (T5 makes one space of each run of it, and drops it
      at the end). A student token that begins with whitespace is aligned also to the teacher
      tokens before it that are whitespace only: `▁In` to `\\n` and `In`.
    - Where the texts differ in other bytes (normalised characters, unknown ones, a student's text
      that was cut), a shortest edit script says which bytes correspond.

    Tokens that share no byte with the teacher's text have no step.

    Args:
      teachers: bytes of each text's tokens, empty for tokens without text.
      students: likewise.
    """
    equal, others = [], []
    for k, (teacher, student) in enumerate(zip(teachers, students, strict=True)):
        texts = b"".join(teacher), b"".join(student)
        (equal if _are_equal(*texts) else others).append(k)
    alignments: dict[int, Alignment] = {}
    for rows, bare in ((equal, False), (others, True)):
        if rows:
            chosen = [teachers[k] for k in rows], [students[k] for k in rows]
            alignments.update(zip(rows, _align(*(_Side(pieces, bare) for pieces in chosen))))
    return [alignments[k] for k in range(len(students))]


def _are_equal(teacher: bytes, student: bytes) -> bool:
    return teacher == student or b" " + teacher == student or teacher == b" " + student


class _Side:
    """The tokens of several texts, one text after another.

    Attributes:
      lengths: tokens of each text.
      starts: where tokens begin in their text; in bare texts whitespace takes no room.
      ends: where they end.
      begins_with_space: whether bare texts lack a token's first byte.
      sizes: bytes of each text.
      texts: what starts and ends count in, where that is bare.
    """

    def __init__(self, pieces: Sequence[Sequence[bytes]], bare: bool):
        flat = [piece for text in pieces for piece in text]
        self.lengths = np.array([len(text) for text in pieces])
        ends = np.cumsum(np.fromiter(map(len, flat), np.int64, len(flat)))
        self.begins_with_space = np.zeros(len(flat), bool)
        self.texts: list[bytes] = []
        if bare:
            self.texts = [b"".join(text).translate(None, WHITESPACE) for text in pieces]
            # One byte more, so that an empty piece at the end has a place to look at.
            is_space = _IS_WHITESPACE[np.frombuffer(b"".join(flat) + b"x", np.uint8)]
            starts = np.concatenate(([0], ends))[:-1]
            self.begins_with_space = is_space[starts] & (starts < ends)
            ends = ends - np.concatenate(([0], np.cumsum(is_space)))[ends]
        token_ends = np.cumsum(self.lengths)
        text_ends = np.concatenate(([0], ends))[token_ends]
        self.sizes = np.diff(text_ends, prepend=0)
        self.ends = ends - (text_ends - self.sizes).repeat(self.lengths)
        self.starts = np.concatenate(([0], self.ends))[:-1]
        self.starts[(token_ends - self.lengths)[self.lengths > 0]] = 0

    def without_first_space(self, has_it: Bool[np.ndarray, " texts"]) -> None:
        """Takes no account of the first byte of these texts."""
        shift = has_it.astype(np.int64)
        self.starts = np.maximum(self.starts - shift.repeat(self.lengths), 0)
        self.ends = np.maximum(self.ends - shift.repeat(self.lengths), 0)
        self.sizes = self.sizes - shift


def _align(teacher: _Side, student: _Side) -> list[Alignment]:
    costs = np.zeros(len(teacher.lengths), np.int64)
    if teacher.texts:
        _match_texts(teacher, student, costs)
    else:
        longer = teacher.sizes > student.sizes, student.sizes > teacher.sizes
        teacher.without_first_space(longer[0])
        student.without_first_space(longer[1])
    # Texts come to stand one after another, with a gap, in the same place on both sides.
    sizes = np.maximum(teacher.sizes, student.sizes) + 1
    places = np.cumsum(sizes) - sizes
    teacher_places, student_places = (places.repeat(side.lengths) for side in (teacher, student))
    teacher_starts, teacher_ends = teacher.starts + teacher_places, teacher.ends + teacher_places
    starts, ends = student.starts + student_places, student.ends + student_places
    # Teacher tokens without room, such as whitespace in bare texts, stand from `at` to `beyond`.
    at = np.searchsorted(teacher_starts, starts, side="left")
    beyond = np.searchsorted(teacher_ends, starts, side="right")
    first = np.where(student.begins_with_space, np.minimum(at, beyond), beyond)
    last = np.searchsorted(teacher_starts, ends, side="left")
    is_empty = starts == ends
    first = np.where(is_empty & student.begins_with_space, at, first)
    last = np.where(is_empty, np.where(student.begins_with_space, beyond, first), last)
    step_starts = (np.cumsum(teacher.lengths) - teacher.lengths).repeat(student.lengths)
    return split_ranges(first - step_starts, np.maximum(last - first, 0), student.lengths, costs)


def _match_texts(teacher: _Side, student: _Side, costs: Int64[np.ndarray, " texts"]) -> None:
    """Puts students' spans where the teacher's text has them; costs are of bytes not found."""
    token_ends = np.cumsum(student.lengths)
    for k, texts in enumerate(zip(teacher.texts, student.texts)):
        if texts[0] != texts[1]:
            matched = match_bytes(*texts)
            costs[k] = len(texts[0]) + len(texts[1]) - 2 * int((matched >= 0).sum())
            tokens = slice(token_ends[k] - student.lengths[k], token_ends[k])
            student.starts[tokens], student.ends[tokens] = _carried_over(
                matched, student.starts[tokens], student.ends[tokens]
            )


def _carried_over(
    matched: Int64[np.ndarray, " bytes"],
    starts: Int64[np.ndarray, " m"],
    ends: Int64[np.ndarray, " m"],
) -> tuple[Int64[np.ndarray, " m"], Int64[np.ndarray, " m"]]:
    """Returns spans of the student's text as spans of the teacher's.

    A span reaches from its first matched byte to its last; one without any is empty and stands
    behind the matched byte before it.
    """
    behind = np.concatenate(([0], np.maximum.accumulate(matched + 1)))
    has_match = np.concatenate(([0], np.cumsum(matched >= 0)))
    has_any = has_match[ends] > has_match[starts]
    # The next matched place from each byte on, found from the right.
    large = np.iinfo(np.int64).max
    ahead = np.minimum.accumulate(np.where(matched < 0, large, matched)[::-1])[::-1]
    ahead = np.concatenate((ahead, [large]))
    begin = np.where(has_any, ahead[starts], behind[starts])
    return begin, np.where(has_any, behind[ends], begin)
