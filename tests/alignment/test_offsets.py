"""Alignment by bytes equals its definition, and finds its way in texts that differ."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tlm_jax.alignment import byte_diff, offsets
from tlm_jax.alignment.byte_diff import match_bytes
from tlm_jax.vocabularies.token_bytes import token_table


def all_steps(alignment):
    return [alignment.steps_of(j) for j in range(len(alignment.counts))]


def spans(pieces, drop, shift=0):
    """Where pieces begin and end, counting bytes that are not in `drop`, less `shift`."""
    found, end = [], 0
    for piece in pieces:
        begin, end = end, end + len(piece.translate(None, drop))
        found.append((max(begin - shift, 0), max(end - shift, 0)))
    return found


def by_definition(teacher, student):
    """Compares every student token with every teacher token; the texts must correspond."""
    texts = b"".join(teacher), b"".join(student)
    equal = texts[0] == texts[1] or b" " + texts[0] == texts[1] or texts[0] == b" " + texts[1]
    drop = b"" if equal else offsets.WHITESPACE
    shifts = [int(equal and len(text) > min(map(len, texts))) for text in texts]
    teacher_spans = spans(teacher, drop, shifts[0])
    steps = []
    for piece, (a, b) in zip(student, spans(student, drop, shifts[1]), strict=True):
        begins_with_space = not equal and piece[:1].isspace()
        steps.append(
            [
                i
                for i, (c, d) in enumerate(teacher_spans)
                if max(a, c) < min(b, d)
                or (c == d and a < c < b)
                or (c == d == a and begins_with_space)
            ]
        )
    return steps


@st.composite
def cut_text(draw, text):
    """A text's bytes cut into tokens at random places, some of them empty."""
    places = sorted(draw(st.lists(st.integers(0, len(text)), max_size=8)))
    return [text[a:b] for a, b in zip([0, *places], [*places, len(text)])]


@st.composite
def two_cuts(draw):
    text = draw(st.text("ab  \né", max_size=20)).encode()
    written = draw(
        st.sampled_from(
            [text, b" " + text, b" " + b" ".join(text.split()), b" ".join(text.split())]
        )
    )
    sides = draw(cut_text(text)), draw(cut_text(written))
    return sides if draw(st.booleans()) else sides[::-1]


@settings(max_examples=400, deadline=None)
@given(two_cuts())
def test_equals_the_definition(sides):
    alignment = offsets.align(*sides)
    assert all_steps(alignment) == by_definition(*sides)
    assert alignment.cost == 0


@settings(max_examples=60, deadline=None)
@given(st.lists(two_cuts(), max_size=6))
def test_texts_of_a_batch_do_not_touch(texts):
    batch = offsets.align_batch([t for t, _ in texts], [s for _, s in texts])
    for alignment, (teacher, student) in zip(batch, texts, strict=True):
        alone = offsets.align(teacher, student)
        assert all_steps(alignment) == all_steps(alone)
        assert alignment.cost == alone.cost


@settings(max_examples=300, deadline=None)
@given(st.text("ab \n", max_size=14), st.text("abc ", max_size=14), st.data())
def test_any_two_texts(teacher_text, student_text, data):
    teacher = data.draw(cut_text(teacher_text.encode()))
    student = data.draw(cut_text(student_text.encode()))
    alignment = offsets.align(teacher, student)
    flat = alignment.steps.tolist()
    assert all(0 <= step < len(teacher) for step in flat)
    for steps in all_steps(alignment):
        assert steps == list(range(steps[0], steps[0] + len(steps))) if steps else True
    bare = [
        text.encode().translate(None, offsets.WHITESPACE) for text in (teacher_text, student_text)
    ]
    assert alignment.cost == len(bare[0]) + len(bare[1]) - 2 * longest_common(*bare)


def longest_common(left, right):
    row = [0] * (len(right) + 1)
    for a in left:
        before, row = row, [0]
        for j, b in enumerate(right):
            row.append(before[j] + 1 if a == b else max(before[j + 1], row[j]))
    return row[-1]


@settings(max_examples=400, deadline=None)
@given(st.binary(max_size=14), st.binary(max_size=14))
def test_matched_bytes(left, right):
    # Three values, so that runs and repetitions are common.
    left, right = bytes(b % 3 for b in left), bytes(b % 3 for b in right)
    pairs = [(x, y) for y, x in enumerate(match_bytes(left, right).tolist()) if x >= 0]
    assert all(left[x] == right[y] for x, y in pairs)
    assert [x for x, _ in pairs] == sorted({x for x, _ in pairs})
    assert len(pairs) == longest_common(left, right)


def test_long_runs_between_edits():
    left = b"0123456789" * 30 + b"x" + b"abcdefghij" * 30 + b"y"
    right = b"0123456789" * 30 + b"abcdefghij" * 30 + b"zy"
    matched = match_bytes(left, right).tolist()
    assert matched == [*range(300), *range(301, 601), -1, 601]


def test_texts_that_have_little_in_common(monkeypatch):
    monkeypatch.setattr(byte_diff, "MAX_EDITS", 3)
    assert match_bytes(b"same abcdef end", b"same ghijkl end").tolist() == [
        *range(5), *[-1] * 6, *range(11, 15)
    ]  # fmt: skip


def test_whitespace_that_t5_drops():
    teacher = [b"A", b".", b"\n", b"\n", b"In", b" all", b" ", b"3"]
    student = [b" A", b".", b" In", b" all", b" 3"]
    assert all_steps(offsets.align(teacher, student)) == [[0], [1], [2, 3, 4], [5], [6, 7]]
    # A piece for the space alone takes it; what follows does not begin with whitespace.
    student = [b" A", b".", b" In", b" all", b" ", b"3"]
    assert all_steps(offsets.align(teacher, student))[4:] == [[6], [7]]


def test_unknown_and_normalised_characters():
    teacher = [b"x", b" <<", b"2", b"*", b"\xc2\xbd", b" end"]
    student = [b" x", b" ", b"", b"2", b"*", b"1/2", b" end"]
    alignment = offsets.align(teacher, student)
    assert all_steps(alignment) == [[0], [], [], [2], [3], [], [5]]
    assert alignment.cost == 2 + 2 + 3


def test_a_student_text_that_was_cut():
    teacher = [b"The", b" answer", b" is", b" 72", b".", b"\n"]
    assert all_steps(offsets.align(teacher, [b" The", b" answer", b" is"])) == [[0], [1], [2]]
    assert all_steps(offsets.align(teacher, [b"The", b" ans"])) == [[0], [1]]


def test_next_to_nothing():
    assert all_steps(offsets.align([], [])) == []
    assert all_steps(offsets.align([b"a"], [])) == []
    assert all_steps(offsets.align([], [b"a", b""])) == [[], []]
    assert all_steps(offsets.align([b"\n"], [])) == []
    assert offsets.align_batch([], []) == []


@pytest.mark.parametrize("student_name", ["t5", "llama2", "smollm2", "gpt2"])
def test_four_tokenizers(vocabularies, student_name, texts):
    student = vocabularies[student_name]
    student_table = token_table(student)
    for teacher_name, teacher in vocabularies.items():
        teacher_table = token_table(teacher)
        for text in texts:
            sides = (
                [teacher_table.pieces[i] for i in teacher.encode(text)],
                [student_table.pieces[i] for i in student.encode(text)],
            )
            alignment = offsets.align(*sides)
            if alignment.cost == 0:
                assert all_steps(alignment) == by_definition(*sides)
            else:
                assert "t5" in (teacher_name, student_name)  # the others can write any text


@settings(max_examples=40, deadline=None)
@given(text=st.text(max_size=25), names=st.permutations(["t5", "gpt2", "llama2", "smollm2"]))
def test_random_strings_of_four_tokenizers(vocabularies, text, names):
    sides = []
    for vocabulary in (vocabularies[name] for name in names[:2]):
        sides.append([token_table(vocabulary).pieces[i] for i in vocabulary.encode(text)])
    alignment = offsets.align(*sides)
    if alignment.cost == 0:
        assert all_steps(alignment) == by_definition(*sides)
    else:  # one of them cannot write it
        written = [b"".join(side).removeprefix(b" ") for side in sides]
        assert any(side != text.encode().removeprefix(b" ") for side in written)
