"""Mapped targets of drawn rows equal those of a plain computation."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mapped_tokens import (
    MAP,
    STUDENT,
    STUDENT_TEXTS,
    TEACHER,
    TEACHER_TEXTS,
    as_dicts,
    distributions,
    pieces_of,
)

from tlm_jax.alignment import dtw, offsets, published
from tlm_jax.alignment.mapping import map_steps


@st.composite
def teacher_rows(draw):
    """A random text of the two vocabularies with random candidates."""
    row = draw(st.lists(st.integers(1, TEACHER.size - 1), min_size=1, max_size=8))
    text = "".join(TEACHER_TEXTS[i] for i in row)
    student = []
    for word in text.split():  # greedily, as far as the student can
        rest = " " + word
        while rest:
            fits = [i for i, p in enumerate(STUDENT_TEXTS) if p and rest.startswith(p)]
            student.append(max(fits, key=lambda i: len(STUDENT_TEXTS[i]), default=7))
            rest = rest[len(STUDENT_TEXTS[student[-1]]) :]
    steps = []
    for _ in row:
        ids = draw(st.lists(st.integers(0, TEACHER.size - 1), min_size=1, max_size=4, unique=True))
        odds = draw(st.lists(st.integers(0, 9), min_size=len(ids) + 1, max_size=len(ids) + 1))
        total = max(sum(odds), 1)
        steps.append({i: weight / total for i, weight in zip(ids, sorted(odds[1:])[::-1])})
    return np.array(row, np.int32), np.array(student, np.int32), steps


@settings(max_examples=200, deadline=None)
@given(teacher_rows())
def test_dtw_equals_the_published_targets(drawn):
    row, student, steps = drawn
    if not len(student):
        return
    tokens = [TEACHER_TEXTS[i] for i in row]
    pieces = [STUDENT_TEXTS[i].replace(" ", "▁") for i in student]
    alignment = dtw.align(tokens, pieces)
    expected = published.targets(
        tokens,
        pieces,
        # Steps without a probability above 0 say nothing in either form; EOS is a piece to ours.
        [
            [("</s>" if i == 0 else TEACHER_TEXTS[i], p) for i, p in step.items() if p]
            for step in steps
        ],
        alignment,
        lambda piece: piece == "</s>" or piece.replace("▁", " ") in STUDENT_TEXTS[2:],
    )
    mapped = map_steps(
        row, distributions(*steps), alignment, MAP, student, method="dtw", lost_mass="unnormalized"
    )
    for (got, tail), want in zip(as_dicts(mapped.steps), expected, strict=True):
        named = {STUDENT_TEXTS[i].replace(" ", "▁") or "</s>": p for i, p in got.items()}
        assert named == pytest.approx(want, rel=1e-5)
        assert tail == 0


@settings(max_examples=200, deadline=None)
@given(teacher_rows())
def test_offsets_equal_a_plain_computation(drawn):
    row, student, steps = drawn
    alignment = offsets.align(pieces_of(row, TEACHER), pieces_of(student, STUDENT))
    mapped = map_steps(row, distributions(*steps), alignment, MAP, student)
    for j, (got, tail) in enumerate(as_dicts(mapped.steps)):
        assert sum(got.values()) + tail == pytest.approx(1, abs=1e-5)
        want = plain_target(row, steps, alignment.steps_of(j), STUDENT_TEXTS[student[j]])
        assert got == pytest.approx(want or {int(student[j]): 1.0}, rel=1e-5)


def plain_target(row, steps, aligned, piece):
    """The probabilities of student ids by text, empty where the token is hard."""
    if not aligned or not all(TEACHER_TEXTS[row[i]].isspace() for i in aligned[:-1]):
        return {}
    last = TEACHER_TEXTS[row[aligned[-1]]]

    def after_space(text):
        return " " + text.lstrip() if text.strip() else None

    if piece == last and len(aligned) == 1:
        write = str
    elif piece == after_space(last):
        write = after_space
    else:
        return {}
    whitespace_mass = np.prod([steps[i].get(int(row[i]), 0) for i in aligned[:-1]])
    by_text = {text: i for i, text in enumerate(STUDENT_TEXTS) if i > 1}
    found = {}
    for i, p in steps[aligned[-1]].items():
        target = by_text.get(write(TEACHER_TEXTS[i])) if i else 1
        if target is not None and p * whitespace_mass:
            found[target] = found.get(target, 0) + p * whitespace_mass
    return found
