"""Mapped targets equal a plain computation in dictionaries, and nothing of the mass is lost."""

import dataclasses

import numpy as np
import pytest
from mapped_tokens import (
    MAP,
    STUDENT,
    TEACHER,
    as_dicts,
    distributions,
    ids_array,
    pieces_of,
    table,
)

from tlm_jax.alignment import dtw, offsets
from tlm_jax.alignment.aligned import one_to_one
from tlm_jax.alignment.mapping import Coverage, Kind, check_options, map_steps
from tlm_jax.alignment.vocabulary_map import SAME, WITH_SPACE, WITHOUT_SPACE, VocabularyMap
from tlm_jax.errors import UserError
from tlm_jax.teacher_cache.steps import StepDistributions


def test_the_map():
    assert MAP.maps[SAME].tolist() == [1, 3, 4, 5, -1, 8, 6, 7, -1, -1, -1]
    # The student has no newline, so a run of whitespace is one space to it.
    assert MAP.maps[WITH_SPACE].tolist() == [1, 2, 4, -1, -1, 6, 6, -1, -1, 4, -1]
    assert MAP.maps[WITHOUT_SPACE].tolist() == [1, 3, -1, 5, -1, 8, 8, -1, -1, -1, -1]
    assert MAP.is_whitespace.nonzero()[0].tolist() == [4, 7, 10]


def test_a_student_that_writes_newlines_keeps_its_spaces():
    student = table("", "\n", " C", "  C", "C", "\n C")
    found = VocabularyMap.of(TEACHER, student)
    assert found.maps[WITH_SPACE][[4, 5, 6]].tolist() == [-1, 2, 3]


def test_a_byte_with_a_piece_and_a_fallback():
    student = table("", "C", "A", "C")
    assert VocabularyMap.of(TEACHER, student).maps[SAME, 5] == 3


def test_equal_vocabularies_keep_their_special_ids():
    side = table("", "a", "a", "", "b", special=(0, 3))
    found = VocabularyMap.of(side, dataclasses.replace(side, fingerprint="another"))
    assert found.is_identity
    assert found.maps[SAME].tolist() == [0, 1, 2, 3, 4]


def test_soft_hard_and_eos():
    row = ids_array(1, 2, 4, 5, 8, 0)  # "A", " B", newline, "C", "AB", EOS
    student = ids_array(2, 4, 6, 3, 5, 1)  # " A", " B", " C", "A", "b" (the text says B), EOS
    alignment = offsets.align(pieces_of(row[:-1], TEACHER), pieces_of(student[:-1], STUDENT))
    steps = distributions(
        {1: 0.5, 9: 0.25},
        {2: 0.5, 6: 0.2, 8: 0.2, 3: 0.1},
        {4: 0.8, 6: 0.1},
        {5: 0.4, 6: 0.3, 0: 0.1, 8: 0.2},
        {8: 1.0},
        {0: 0.75, 4: 0.125},
    )
    mapped = map_steps(row, steps, alignment.with_token(5), MAP, student)
    assert mapped.kinds.tolist() == [*[Kind.SOFT] * 3, Kind.HARD, Kind.HARD, Kind.SOFT]
    expected = [
        ({2: 0.5, 4: 0.25}, 0.25),  # the student begins with a space, so every candidate does
        ({4: 0.5, 6: 0.2, 5: 0.1}, 0.2),  # "AB" is lost to the tail
        # After the newline (0.8): C and " C" are one piece; EOS; what else came is tail.
        ({6: 0.8 * 0.7, 1: 0.8 * 0.1}, 0.2 + 0.8 * 0.2),
        ({3: 1.0}, 0),
        ({5: 1.0}, 0),
        ({1: 0.75}, 0.25),
    ]
    for (got, got_tail), (want, want_tail) in zip(as_dicts(mapped.steps), expected, strict=True):
        assert got == pytest.approx(want, rel=1e-6)
        assert got_tail == pytest.approx(want_tail, abs=1e-6)
    coverage = mapped.coverage
    assert (coverage.soft, coverage.hard, coverage.dropped) == (4, 2, 0)
    assert coverage.kept_mass == pytest.approx(0.75 + 0.8 + 0.64 + 0.75)
    assert mapped.coverage.tokens == 6

    renormalized = map_steps(
        row, steps, alignment.with_token(5), MAP, student, lost_mass="renormalize", hard="drop"
    )
    got, got_tail = as_dicts(renormalized.steps)[2]
    assert got == pytest.approx({6: 0.875, 1: 0.125}, rel=1e-6)
    assert got_tail == 0
    assert renormalized.steps.weights.tolist() == [1, 1, 1, 0, 0, 1]
    assert renormalized.kinds.tolist()[3:5] == [Kind.DROPPED] * 2
    assert as_dicts(renormalized.steps)[3] == ({}, 0)
    assert renormalized.coverage == Coverage(4, 0, 2, mapped.coverage.kept_mass)


def test_the_published_rule():
    row, student = ids_array(1, 2, 5, 0), ids_array(2, 4, 8, 1)
    alignment = dtw.align(["A", " B", "C"], ["▁A", "▁B", "C"]).with_token(3)
    steps = distributions({1: 1.0}, {2: 0.5, 6: 0.2, 8: 0.2}, {5: 0.3}, {0: 0.5})
    mapped = map_steps(row, steps, alignment, MAP, student, method="dtw", lost_mass="unnormalized")
    assert mapped.kinds.tolist() == [Kind.HARD, Kind.SOFT, Kind.SOFT, Kind.HARD]
    assert as_dicts(mapped.steps) == [
        ({2: 1.0}, 0),
        (pytest.approx({4: 0.5, 6: 0.2}), 0),
        (pytest.approx({8: 0.3}), 0),
        ({1: 1.0}, 0),
    ]


def test_candidates_that_are_one_piece():
    teacher = table("", "x", "y", "x")  # two ids with one text
    student = table("", "x", "y")
    found = VocabularyMap.of(teacher, student)
    steps = distributions({3: 0.5, 1: 0.3, 2: 0.1})
    row = ids_array(1), steps, one_to_one(1), found, ids_array(1)
    assert as_dicts(map_steps(*row).steps)[0][0] == pytest.approx({1: 0.8, 2: 0.1})
    first = map_steps(*row, method="dtw").steps
    assert as_dicts(first)[0] == (pytest.approx({1: 0.5, 2: 0.1}), pytest.approx(0.4))


def test_a_teacher_that_begins_with_a_space():
    teacher, student = table("", " A", " B"), table("", "A", "B", " B")
    found = VocabularyMap.of(teacher, student)
    alignment = offsets.align([b" A", b" B"], [b"A", b" B"])
    steps = distributions({1: 0.5, 2: 0.5}, {2: 1.0})
    mapped = map_steps(ids_array(1, 2), steps, alignment, found, ids_array(1, 3))
    assert as_dicts(mapped.steps) == [(pytest.approx({1: 0.5, 2: 0.5}), 0), ({3: 1.0}, 0)]
    assert mapped.kinds.tolist() == [Kind.SOFT, Kind.SOFT]


@pytest.mark.parametrize(
    ("steps", "why"),
    [
        (distributions({4: 0.5, 8: 0.25}), "no candidate that the student can write"),
        (distributions({1: 0.0, 4: 0.9}), "probability 0 after rounding"),
        (distributions({}), "no candidate at all"),
    ],
)
def test_steps_that_say_nothing_are_hard(steps, why):
    mapped = map_steps(ids_array(1), steps, one_to_one(1), MAP, ids_array(3))
    assert mapped.kinds.tolist() == [Kind.HARD], why
    assert as_dicts(mapped.steps) == [({3: 1.0}, 0)]


def test_a_step_of_weight_0_is_hard():
    steps = dataclasses.replace(distributions({1: 1.0}), weights=np.zeros(1, np.float32))
    assert map_steps(ids_array(1), steps, one_to_one(1), MAP, ids_array(3)).coverage.hard == 1


def test_whitespace_whose_probability_is_not_known_is_hard():
    alignment = offsets.align([b"\n", b"C"], [b" C"])
    steps = distributions({7: 0.5}, {5: 1.0})  # the newline is not among the candidates
    mapped = map_steps(ids_array(4, 5), steps, alignment, MAP, ids_array(6))
    assert mapped.kinds.tolist() == [Kind.HARD]


def test_special_pieces_are_no_target():
    """A candidate spelled like a special token is lost; EOS meets EOS alone."""
    teacher = table("", "x", "</s>", "<pad>")
    student = table("", "", "x", special=(0, 1), eos=1)  # "<pad>", "</s>", "x"
    found = VocabularyMap.of(teacher, student)
    steps = distributions({1: 0.5, 2: 0.25, 3: 0.125, 0: 0.125})
    for method in ("offsets", "dtw"):
        mapped = map_steps(ids_array(1), steps, one_to_one(1), found, ids_array(2), method=method)
        got, tail = as_dicts(mapped.steps)[0]
        assert got == pytest.approx({2: 0.5, 1: 0.125})
        assert tail == pytest.approx(0.375)


def test_sums_above_1_by_rounding_become_1():
    steps = distributions({1: 0.6, 5: 0.4004}, tails=[0.01])
    row = ids_array(1), steps, one_to_one(1), MAP, ids_array(3)
    got, tail = as_dicts(map_steps(*row).steps)[0]
    assert sum(got.values()) + tail == pytest.approx(1, abs=1e-6)
    assert got[8] / got[3] == pytest.approx(0.4004 / 0.6)
    published_form = as_dicts(map_steps(*row, lost_mass="unnormalized").steps)[0]
    assert published_form == (pytest.approx({3: 0.6, 8: 0.4004}), 0)


def test_nothing_to_map():
    empty = StepDistributions(
        np.zeros((0, 3), np.int32), *(np.zeros(s, np.float32) for s in ((0, 3), 0, 0))
    )
    mapped = map_steps(ids_array(), empty, one_to_one(0), MAP, ids_array())
    assert mapped.steps.ids.shape == (0, 3)
    assert mapped.coverage == Coverage()
    # A text that the student writes as nothing but EOS, which the teacher did not score.
    mapped = map_steps(ids_array(), empty, one_to_one(0).with_token(None), MAP, ids_array(1))
    assert as_dicts(mapped.steps) == [({1: 1.0}, 0)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"row": ids_array(1, 2)}, "a teacher row has 2 tokens but 1 distributions"),
        ({"student": ids_array(3, 3)}, "1 student tokens were aligned but there are 2"),
        ({"alignment": one_to_one(0).with_token(7)}, "names step 7, but there are only 1"),
        ({"row": ids_array(99)}, "step 0: token ids that are not in the teacher's vocabulary"),
        ({"steps": distributions({1: 0.9, 2: 0.9})}, "step 0: the probabilities sum to 1.800"),
    ],
)
def test_what_does_not_belong_together(change, message):
    given_ = {
        "row": ids_array(1),
        "steps": distributions({1: 1.0}),
        "alignment": one_to_one(1),
        "map": MAP,
        "student": ids_array(3),
        **change,
    }
    with pytest.raises(UserError, match=message):
        map_steps(*given_.values())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("dwt", "tail", "drop"), "unknown method 'dwt'.*Did you mean 'dtw'"),
        (("dtw", "drop", "drop"), "expected one of tail, renormalize, unnormalized"),
        (("dtw", "tail", "one-hot"), "Did you mean 'one_hot'"),
    ],
)
def test_unknown_options(options, message):
    with pytest.raises(UserError, match=message):
        check_options(*options)
