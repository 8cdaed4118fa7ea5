"""Aligns tokens by dynamic time warping over edit distances, as Flan-T5 specialization does.

With c(i, j) the Levenshtein distance between teacher token i without spaces and student piece j
without `▁`,

    D(i, j) = c(i, j) + min(D(i-1, j-1), D(i-1, j), D(i, j-1)),

D being infinite outside and 0 before the first pair, so that each visited pair pays its cost. The
path is followed back from the last pair to the smallest of the diagonal, the upper (i-1) and the
left (j-1) neighbour, the first of these where they are equal.

Source: Fu et al. 2023, arXiv 2301.12726, notebook `dev_align_codex_to_flan_t5_dtw` of the official
code.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Integer

from tlm_jax.alignment.aligned import Alignment, split_ranges, unaligned
from tlm_jax.alignment.edit_costs import EditCosts

_ROWS = 256
"""Texts aligned at a time, at most: enough that NumPy's overhead does not count."""

_CELLS = 1 << 25
"""Cells of one batch's D, at most, unless one text alone has more."""


def align(teacher: Sequence[str], student: Sequence[str]) -> Alignment:
    """Aligns one text's tokens; many at a time go far faster through `align_batch`.

    Args:
      teacher: tokens as they are written in the text, spaces included.
      student: pieces with `▁` for a space, without EOS.

    Returns:
      Each student piece has at least one step, unless one side is empty: then it has none and
      the cost is infinite (0 where both are empty).
    """
    return align_batch([teacher], [student], EditCosts())[0]


def align_batch(
    teachers: Sequence[Sequence[str]], students: Sequence[Sequence[str]], costs: EditCosts
) -> list[Alignment]:
    """Aligns many texts as `align` does.

    Args:
      teachers: the teacher's tokens of each text.
      students: the student's pieces of each text.
      costs: keeps the edit distances; give the same one to every call with these vocabularies.
    """
    alignments: dict[int, Alignment] = {}
    kept: list[int] = []
    for k, (teacher, student) in enumerate(zip(teachers, students, strict=True)):
        if teacher and student:
            kept.append(k)
        else:
            cost = float("inf") if teacher or student else 0.0
            alignments[k] = unaligned(len(student), cost)
    # Texts of one batch are padded to the longest of it.
    kept.sort(key=lambda k: (len(teachers[k]) + len(students[k]), len(teachers[k])))
    while kept:
        longest = len(teachers[kept[-1]]) + len(students[kept[-1]])
        batch = kept[-max(1, min(_ROWS, _CELLS // (longest * longest))) :]
        del kept[-len(batch) :]
        rows, columns = costs.rows([teachers[k] for k in batch], [students[k] for k in batch])
        for k, alignment in zip(batch, _align_batch(rows, columns, costs)):
            alignments[k] = alignment
    return [alignments[k] for k in range(len(students))]


def _align_batch(
    rows: list[Integer[np.ndarray, " _"]],
    columns: list[Integer[np.ndarray, " _"]],
    costs: EditCosts,
) -> list[Alignment]:
    num_teacher = np.array([len(ids) for ids in rows])
    num_student = np.array([len(ids) for ids in columns])
    teacher, student = _padded(rows), _padded(columns)
    sums = _path_sums(teacher, student, costs)
    first, counts = _paths(sums, num_teacher, num_student)
    total = sums[num_teacher + num_student, num_teacher, np.arange(len(rows))]
    real = np.arange(first.shape[1]) < num_student[:, None]
    return split_ranges(first[real], counts[real], num_student, total)


def _padded(ids: list[Integer[np.ndarray, " _"]]) -> Integer[np.ndarray, "N B"]:
    """Returns one column a text, so that anti-diagonals of a batch are contiguous."""
    padded = np.zeros((max(map(len, ids)), len(ids)), np.intp)
    for column, row in enumerate(ids):
        padded[: len(row), column] = row
    return padded


def _path_sums(
    teacher: Integer[np.ndarray, "N B"], student: Integer[np.ndarray, "M B"], costs: EditCosts
) -> Integer[np.ndarray, "diagonals rows B"]:
    """Returns D by anti-diagonal: entry [i + j, i] is D(i, j), i and j counting from 1.

    Row 0 and what stands beside a diagonal's cells is large enough never to be the minimum; the
    rest is left unset. All cells of a diagonal depend on the two before it alone.
    """
    (n, batch), m = teacher.shape, len(student)
    infinite = (n + m) * costs.longest + 1
    dtype = np.result_type(np.int16, np.min_scalar_type(-2 * infinite))
    sums = np.empty((n + m + 1, n + 1, batch), dtype)
    sums[:, 0] = infinite
    sums[0, 0] = 0
    sums[1, 1] = infinite
    distances = costs.distances(teacher, student).reshape(n * m, batch)
    for d in range(2, n + m + 1):
        low, high = max(1, d - m), min(n, d - 1)  # of i; j = d - i
        # Pair (i, j) stands at (i - 1) m + j - 1; the next of the diagonal, m - 1 further.
        begin, end = (low - 1) * m + d - low - 1, (high - 1) * m + d - high
        cost = distances[begin : end : max(1, m - 1)]
        here, before, diagonal = sums[d], sums[d - 1], sums[d - 2]
        cells = here[low : high + 1]
        np.minimum(before[low - 1 : high], before[low : high + 1], out=cells)
        np.minimum(cells, diagonal[low - 1 : high], out=cells)
        np.add(cells, cost, out=cells)
        if high < n:
            here[high + 1] = infinite
    return sums


def _paths(
    sums: Integer[np.ndarray, "diagonals rows B"],
    num_teacher: Integer[np.ndarray, " B"],
    num_student: Integer[np.ndarray, " B"],
) -> tuple[Integer[np.ndarray, "B M"], Integer[np.ndarray, "B M"]]:
    """Follows every text's path back; returns the first step and the number of steps of pieces."""
    _, width, batch = sums.shape
    flat, texts = sums.reshape(-1), np.arange(batch)
    i, j = num_teacher.copy(), num_student.copy()
    first = np.zeros((batch, int(num_student.max()) + 1), np.intp)
    counts = np.zeros_like(first)
    first_flat, counts_flat = first.reshape(-1), counts.reshape(-1)
    row_starts = texts * first.shape[1]
    plane = width * batch
    running: Bool[np.ndarray, " B"] = np.ones(batch, bool)
    while running.any():
        at = row_starts + j
        first_flat[at] = i
        counts_flat[at] += running
        up = (i + j - 1) * plane + (i - 1) * batch + texts
        diagonal_sum, up_sum, left_sum = flat[up - plane], flat[up], flat[up + batch]
        go_diagonal = (diagonal_sum <= up_sum) & (diagonal_sum <= left_sum)
        go_up = go_diagonal | (up_sum <= left_sum)
        i -= go_up & running
        j -= (go_diagonal | ~go_up) & running
        running = (i > 0) & (j > 0)
    # Teacher steps count from 0; column 0 stands before the first piece.
    return first[:, 1:] - 1, counts[:, 1:]
