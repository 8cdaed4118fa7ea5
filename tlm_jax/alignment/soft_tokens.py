"""Student tokens that stand for the same text as the teacher token aligned to them."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64, Int

from tlm_jax.alignment.aligned_rows import JoinedRows
from tlm_jax.alignment.vocabulary_map import SAME, WITH_SPACE, WITHOUT_SPACE, VocabularyMap


def same_spelling(
    rows: JoinedRows, vocabulary_map: VocabularyMap, last: Int[np.ndarray, " m"]
) -> Int[np.ndarray, " m"]:
    """Returns `SAME` for tokens that are soft by the published rule, -1 for others.

    Args:
      rows: student tokens with the teacher steps aligned to them.
      vocabulary_map: of the two vocabularies.
      last: the last teacher step of each student token; anything where it has none.
    """
    soft = rows.alignment.counts == 1
    if vocabulary_map.student_eos is not None:
        soft &= rows.student_token_ids != vocabulary_map.student_eos
    teacher_ids = rows.teacher_token_ids[last[soft]]
    soft[soft] = vocabulary_map.maps[SAME, teacher_ids] == rows.student_token_ids[soft]
    return np.where(soft, SAME, -1)


def same_text(
    rows: JoinedRows, vocabulary_map: VocabularyMap, last: Int[np.ndarray, " m"]
) -> Int[np.ndarray, " m"]:
    """Returns by which map a token's last teacher token is that token, -1 where by none.

    Args:
      rows: student tokens with the teacher steps aligned to them.
      vocabulary_map: of the two vocabularies.
      last: the last teacher step of each student token; anything where it has none.
    """
    alignment = rows.alignment
    chosen_map = np.full(len(last), -1)
    some = np.flatnonzero(alignment.counts)
    teacher_ids = rows.teacher_token_ids[last[some]]
    equal = vocabulary_map.maps[:, teacher_ids] == rows.student_token_ids[some]
    starts, before = alignment.starts[some], alignment.counts[some] - 1
    is_whitespace = vocabulary_map.is_whitespace[rows.teacher_token_ids[alignment.steps]]
    whitespace = np.concatenate(([0], np.cumsum(is_whitespace)))
    only_whitespace = whitespace[starts + before] - whitespace[starts] == before
    # From the last choice to the first, which overrides.
    chosen_map[some[equal[WITHOUT_SPACE] & (before == 0) & rows.is_first[some]]] = WITHOUT_SPACE
    chosen_map[some[equal[WITH_SPACE] & only_whitespace]] = WITH_SPACE
    chosen_map[some[equal[SAME] & (before == 0)]] = SAME
    return chosen_map


def logprobs_of_whitespace(
    rows: JoinedRows, chosen_map: Int[np.ndarray, " m"]
) -> Float64[np.ndarray, " m"]:
    """Returns the log-probability of the whitespace steps before the last step of soft tokens.

    -inf where the teacher's candidates do not tell it, 0 for tokens with one step.
    """
    alignment, steps = rows.alignment, rows.steps
    tokens = np.flatnonzero((chosen_map >= 0) & (alignment.counts > 1))
    counts = alignment.counts[tokens] - 1
    of_token = tokens.repeat(counts)
    place = np.arange(len(of_token)) - (np.cumsum(counts) - counts).repeat(counts)
    whitespace = alignment.steps[alignment.starts[of_token] + place]
    written = steps.ids[whitespace] == rows.teacher_token_ids[whitespace, None]
    written &= steps.weights[whitespace, None] > 0
    logprobs = np.where(written, steps.logprobs[whitespace], -np.inf).max(-1, initial=-np.inf)
    return np.bincount(of_token, logprobs, minlength=len(chosen_map)).astype(np.float64)
