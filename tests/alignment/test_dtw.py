"""Dynamic time warping gives the published path, ties included, however texts are batched."""

import functools
import gzip
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tlm_jax.alignment import dtw
from tlm_jax.alignment.edit_costs import EditCosts, edit_distances
from tlm_jax.vocabularies.token_bytes import token_table

# Few letters, so that equal costs and repeated pieces are common.
WORDS = st.text("ab ▁\n", max_size=4)
TOKENS = st.lists(WORDS, min_size=1, max_size=9)


@functools.cache
def levenshtein(left, right):
    row = list(range(len(right) + 1))
    for i, a in enumerate(left, start=1):
        before, row = row, [i]
        for j, b in enumerate(right, start=1):
            row.append(min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (a != b)))
    return row[-1]


def warp(teacher, student):
    """Returns for each student piece its teacher steps, and the cost of the path."""
    n, m = len(teacher), len(student)
    total = {(0, 0): 0.0}
    for i in range(1, n + 1):
        for j in range(1, m + 1):
            distance = levenshtein(teacher[i - 1].replace(" ", ""), student[j - 1].replace("▁", ""))
            total[i, j] = distance + min(
                total.get(at, np.inf) for at in ((i - 1, j - 1), (i - 1, j), (i, j - 1))
            )
    steps = [[] for _ in range(m)]
    i, j = n, m
    while (i, j) != (0, 0):
        steps[j - 1].insert(0, i - 1)
        # min() takes the first of equal ones.
        i, j = min(((i - 1, j - 1), (i - 1, j), (i, j - 1)), key=lambda at: total.get(at, np.inf))
    return steps, total[n, m]


def all_steps(alignment):
    return [alignment.steps_of(j) for j in range(len(alignment.counts))]


@settings(max_examples=300, deadline=None)
@given(TOKENS, TOKENS)
def test_equals_the_plain_program(teacher, student):
    alignment = dtw.align(teacher, student)
    steps, cost = warp(teacher, student)
    assert (all_steps(alignment), alignment.cost) == (steps, cost)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.lists(WORDS, max_size=9), st.lists(WORDS, max_size=9)), max_size=9))
def test_texts_of_a_batch_do_not_touch(texts):
    costs = EditCosts()
    batch = dtw.align_batch([t for t, _ in texts], [s for _, s in texts], costs)
    again = dtw.align_batch([t for t, _ in texts], [s for _, s in texts], costs)
    alone = [dtw.align(t, s) for t, s in texts]
    for a, b, c in zip(batch, again, alone, strict=True):
        assert all_steps(a) == all_steps(b) == all_steps(c)
        assert a.cost == b.cost == c.cost


@pytest.mark.parametrize("student_name", ["t5", "llama2", "smollm2", "gpt2"])
def test_four_tokenizers(vocabularies, student_name, texts):
    student = vocabularies[student_name]
    pieces = [piece.replace(" ", "▁") for piece in token_table(student).texts]
    costs = EditCosts()
    for teacher_name, teacher in vocabularies.items():
        if teacher_name == student_name:
            continue
        written = token_table(teacher).texts
        pairs = [
            ([written[i] for i in teacher.encode(text)], [pieces[i] for i in student.encode(text)])
            for text in texts
        ]
        aligned = dtw.align_batch([t for t, _ in pairs], [s for _, s in pairs], costs)
        for (t, s), alignment in zip(pairs, aligned, strict=True):
            if t and s:
                assert (all_steps(alignment), alignment.cost) == warp(t, s)


@settings(max_examples=40, deadline=None)
@given(text=st.text(max_size=15), names=st.permutations(["t5", "gpt2", "llama2", "smollm2"]))
def test_random_strings_of_four_tokenizers(vocabularies, text, names):
    teacher, student = (vocabularies[name] for name in names[:2])
    tokens = [token_table(teacher).texts[i] for i in teacher.encode(text)]
    pieces = [token_table(student).texts[i].replace(" ", "▁") for i in student.encode(text)]
    alignment = dtw.align(tokens, pieces)
    if tokens and pieces:
        assert (all_steps(alignment), alignment.cost) == warp(tokens, pieces)
    else:
        assert not len(alignment.steps)


def test_fixture_of_the_notebook(shared_dir):
    path = shared_dir / "data" / "flant5_alignment_fixture.jsonl.gz"
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    for row in rows:
        alignment = dtw.align(row["gpt_tokens"], row["t5_tokens"])
        mapping = [
            [piece, [row["gpt_tokens"][i] for i in steps]]
            for piece, steps in zip(row["t5_tokens"], all_steps(alignment), strict=True)
        ]
        assert mapping == row["mapping_t5_to_gpt"]
        assert alignment.cost == row["total_cost"]


def test_nothing_on_one_side():
    neither = dtw.align([], [])
    assert (all_steps(neither), neither.cost) == ([], 0.0)
    assert (dtw.align(["a"], []).cost, dtw.align([], ["a"]).cost) == (np.inf, np.inf)
    assert all_steps(dtw.align([], ["a", "b"])) == [[], []]


def test_sums_beyond_16_bits():
    teacher, student = ["x" * 300] * 70, ["y" * 290, "z"] * 40
    alignment = dtw.align(teacher, student)
    assert (all_steps(alignment), alignment.cost) == warp(teacher, student)
    assert alignment.cost > 20_000


def test_batches_longer_than_one(texts):
    teachers = [list(text) for text in texts if text] * 150
    students = [text.replace("\n", " ").split(" ") for text in texts if text] * 150
    alignments = dtw.align_batch(teachers, students, EditCosts())
    for k in (0, len(teachers) // 2, len(teachers) - 1):
        alone = dtw.align(teachers[k], students[k])
        assert all_steps(alignments[k]) == all_steps(alone)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text("abcé🙂\ud800", max_size=6), min_size=1, max_size=12))
def test_edit_distances(words):
    left, right = np.divmod(np.arange(len(words) ** 2), len(words))
    expected = [levenshtein(words[i], words[j]) for i, j in zip(left, right)]
    assert edit_distances(words, words, left, right).tolist() == expected


def test_edit_distances_in_chunks(monkeypatch):
    monkeypatch.setattr("tlm_jax.alignment.edit_costs._PAIRS", 7)
    words = ["", "a", "sitting", "kitten", "x" * 40, "xy" * 20, "k"]
    left, right = np.divmod(np.arange(49), 7)
    expected = [levenshtein(words[i], words[j]) for i, j in zip(left, right)]
    assert edit_distances(words, words, left, right).tolist() == expected


def test_a_table_that_is_full_starts_anew():
    limited = EditCosts(max_pairs=20)
    for text in ("ab cd ef", "gh ij kl mn op qr st", "ab cd ef", "uv wx"):
        pieces = text.split()
        (alignment,) = dtw.align_batch([pieces], [pieces[::-1]], limited)
        assert (all_steps(alignment), alignment.cost) == warp(pieces, pieces[::-1])


def test_a_long_piece_widens_the_table():
    costs = EditCosts()
    for word in ("b", "c" * 300, "d"):
        (alignment,) = dtw.align_batch([["a", word]], [["a"]], costs)
        assert alignment.cost == len(word)
