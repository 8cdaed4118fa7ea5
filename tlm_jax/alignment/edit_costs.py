"""Edit distances between the pieces of two vocabularies, each pair computed once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Integer

_PAIRS = 1 << 15
"""Distances computed at a time, so that the rows of the recurrence stay in the cache."""


class EditCosts:
    """A growing table of Levenshtein distances, teacher pieces by student pieces.

    Spaces count for nothing: they are removed from teacher pieces, and `▁` from student pieces,
    before the distance is taken. Of two vocabularies' pairs few ever meet in a text, so that a
    distance is computed when it is first asked for.

    Args:
      max_pairs: when the table would have room for more (a byte each), it starts anew with the
        pieces at hand.
    """

    def __init__(self, max_pairs: int = 1 << 27):
        self.max_pairs = max_pairs
        self._start()

    def _start(self) -> None:
        self._teacher = _Pieces(lambda piece: piece.replace(" ", ""))
        self._student = _Pieces(lambda piece: piece.replace("▁", ""))
        self._table = np.zeros((0, 0), np.uint8)

    @property
    def longest(self) -> int:
        """No distance is greater: the length of the longest piece, spaces removed."""
        return max(self._teacher.longest, self._student.longest)

    def rows(
        self, teachers: Sequence[Sequence[str]], students: Sequence[Sequence[str]]
    ) -> tuple[list[Integer[np.ndarray, " _"]], list[Integer[np.ndarray, " _"]]]:
        """Returns the numbers of the pieces of some texts, by which `distances` takes them.

        They are valid until the next call, which may start the table anew.
        """
        found = self._rows(teachers, students)
        if len(self._teacher) * len(self._student) > self.max_pairs:
            # Once: texts that exceed the limit by themselves are aligned all the same.
            self._start()
            found = self._rows(teachers, students)
        self._make_room()
        return found

    def _rows(
        self, teachers: Sequence[Sequence[str]], students: Sequence[Sequence[str]]
    ) -> tuple[list[Integer[np.ndarray, " _"]], list[Integer[np.ndarray, " _"]]]:
        return (
            [self._teacher.rows(pieces) for pieces in teachers],
            [self._student.rows(pieces) for pieces in students],
        )

    def _make_room(self) -> None:
        needed = (len(self._teacher), len(self._student))
        # Distances are bytes unless a piece is longer; the largest value marks unknown ones.
        dtype = np.uint8 if self.longest < 255 else np.uint16
        old = self._table
        if any(n > room for n, room in zip(needed, old.shape)) or old.dtype != dtype:
            shape = [max(room, n + n // 2 + 64) for n, room in zip(needed, old.shape)]
            self._table = np.full(shape, np.iinfo(dtype).max, dtype)
            known = old.astype(dtype)
            known[old == np.iinfo(old.dtype).max] = np.iinfo(dtype).max
            self._table[: old.shape[0], : old.shape[1]] = known

    def distances(
        self, teacher: Integer[np.ndarray, "N B"], student: Integer[np.ndarray, "M B"]
    ) -> Integer[np.ndarray, "N M B"]:
        """Returns the distance of every teacher piece to every student piece of each text.

        Args:
          teacher: piece numbers of `rows`, one column a text.
          student: likewise.
        """
        found = np.empty((len(teacher), *student.shape), self._table.dtype)
        if not self._take(teacher, student, found):
            self._compute(teacher, student)
            self._take(teacher, student, found)
        return found

    def _take(
        self,
        teacher: Integer[np.ndarray, "N B"],
        student: Integer[np.ndarray, "M B"],
        out: Integer[np.ndarray, "N M B"],
    ) -> bool:
        """Copies distances from the table, and stops with False at one not yet known."""
        flat, index = self._table.reshape(-1), np.empty(student.shape, np.intp)
        unknown = np.iinfo(flat.dtype).max
        for offset, distances in zip(teacher * self._table.shape[1], out):
            np.add(offset, student, out=index)
            np.take(flat, index, out=distances, mode="clip")
            if distances.max() == unknown:
                return False
        return True

    def _compute(
        self, teacher: Integer[np.ndarray, "N B"], student: Integer[np.ndarray, "M B"]
    ) -> None:
        """Enters the distances of pairs that meet in these texts and are not yet known."""
        rows, row_of = np.unique(teacher, return_inverse=True)
        columns, column_of = np.unique(student, return_inverse=True)
        meet = np.zeros((len(rows), len(columns)), bool)
        flat, column_of = meet.reshape(-1), column_of.reshape(student.shape)
        for offset in row_of.reshape(teacher.shape) * len(columns):
            flat[offset + column_of] = True
        left, right = np.divmod(np.flatnonzero(flat), len(columns))
        left, right = rows[left], columns[right]
        known = self._table[left, right]
        missing = known == np.iinfo(known.dtype).max
        left, right = left[missing], right[missing]
        self._table[left, right] = edit_distances(
            self._teacher.distinct, self._student.distinct, left, right
        )


class _Pieces:
    """Numbers pieces as they come; pieces that reduce to the same text share a number."""

    def __init__(self, reduce: Callable[[str], str]):
        self.distinct: list[str] = []
        self.longest = 0
        self._reduce = reduce
        self._row: dict[str, int] = {}
        self._row_of_reduced: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self.distinct)

    def rows(self, pieces: Sequence[str]) -> Integer[np.ndarray, " n"]:
        known = self._row
        try:
            return np.array([known[piece] for piece in pieces], np.intp)
        except KeyError:
            for piece in pieces:
                if piece not in known:
                    self._add(piece)
            return np.array([known[piece] for piece in pieces], np.intp)

    def _add(self, piece: str) -> None:
        reduced = self._reduce(piece)
        row = self._row_of_reduced.setdefault(reduced, len(self.distinct))
        if row == len(self.distinct):
            self.distinct.append(reduced)
            self.longest = max(self.longest, len(reduced))
        self._row[piece] = row


def edit_distances(
    lefts: Sequence[str],
    rights: Sequence[str],
    left: Integer[np.ndarray, " p"],
    right: Integer[np.ndarray, " p"],
) -> Integer[np.ndarray, " p"]:
    """Returns the Levenshtein distance of `lefts[left[k]]` and `rights[right[k]]` for every k."""
    left_codes, left_lengths = _codes(lefts)
    right_codes, right_lengths = _codes(rights)
    longest = max(int(left_lengths.max()), int(right_lengths.max()))
    # Bytes are computed at eight times the rate of words.
    distances = np.empty(len(left), np.uint8 if longest < 255 else np.uint16)
    key = right_lengths[right].astype(np.uint16)
    order = np.lexsort((left_lengths[left].astype(np.uint16), key))
    for begin in range(0, len(order), _PAIRS):
        chosen = order[begin : begin + _PAIRS]
        # Ascending in the left length, so that row i of the recurrence concerns the last ones.
        chosen = chosen[np.argsort(left_lengths[left[chosen]], kind="stable")]
        distances[chosen] = _edit_distances_of_chunk(
            left_codes[: left_lengths[left[chosen[-1]]], left[chosen]],
            right_codes[: right_lengths[right[chosen]].max(), right[chosen]],
            left_lengths[left[chosen]],
            right_lengths[right[chosen]],
            distances.dtype,
        )
    return distances


def _edit_distances_of_chunk(
    left: Integer[np.ndarray, "I p"],
    right: Integer[np.ndarray, "J p"],
    left_lengths: Integer[np.ndarray, " p"],
    right_lengths: Integer[np.ndarray, " p"],
    dtype: np.dtype,
) -> Integer[np.ndarray, " p"]:
    """The recurrence, a row at a time, for pairs in ascending order of the left length.

    d(i, j) = min(d(i-1, j) + 1, d(i, j-1) + 1, d(i-1, j-1) + [left_i ≠ right_j]); a pair's
    distance is read where both its texts end, and what lies beyond is computed for nothing.
    """
    num_rows, num_columns, pairs = len(left), len(right), left.shape[1]
    one = dtype.type(1)
    distances = np.empty(pairs, dtype)
    row = np.repeat(np.arange(num_columns + 1, dtype=dtype)[:, None], pairs, axis=1)
    above = np.empty_like(row)
    differs, replaced = np.empty(pairs, bool), np.empty(pairs, dtype)
    ends = np.searchsorted(left_lengths, np.arange(num_rows + 1), side="right")
    begin = 0
    for i, end in enumerate(ends):
        if i:
            row, above = above, row
            row[0, begin:] = i
            for j in range(1, num_columns + 1):
                cell = row[j, begin:]
                np.not_equal(left[i - 1, begin:], right[j - 1, begin:], out=differs[begin:])
                np.add(above[j - 1, begin:], differs[begin:], out=replaced[begin:])
                np.minimum(row[j - 1, begin:], above[j, begin:], out=cell)
                np.add(cell, one, out=cell)
                np.minimum(cell, replaced[begin:], out=cell)
        distances[begin:end] = row[right_lengths[begin:end], np.arange(begin, end)]
        begin = end
    return distances


def _codes(
    texts: Sequence[str],
) -> tuple[Integer[np.ndarray, "L n"], Integer[np.ndarray, " n"]]:
    """Returns the texts' characters, one column a text, and the lengths."""
    lengths = np.array([len(text) for text in texts])
    # What UTF-32 cannot write, lone surrogates, passes as it is.
    joined = "".join(texts).encode("utf-32-le", "surrogatepass")
    flat = np.frombuffer(joined, np.uint32)
    codes = np.zeros((int(lengths.max()), len(texts)), np.uint32)
    ends = np.cumsum(lengths)
    text = np.repeat(np.arange(len(texts)), lengths)
    codes[np.arange(len(flat)) - np.repeat(ends - lengths, lengths), text] = flat
    return codes.astype(np.uint16) if codes.size and codes.max() < 1 << 16 else codes, lengths
