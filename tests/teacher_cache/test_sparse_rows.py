"""Sparse steps come back exactly, whatever their form; their size is near the entropy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tlm_jax.teacher_cache import sparse_rows
from tlm_jax.teacher_cache.sparse_codebook import MAX_NUMBER, SparseCodebook
from tlm_jax.teacher_cache.sparse_symbols import SparseSymbols


def random_row(random, num_steps, max_candidates, vocabulary, *, fixed=False, top=1000):
    counts = np.full(num_steps, max_candidates)
    if not fixed:
        counts = random.integers(0, max_candidates + 1, num_steps)
    ids, levels = [], []
    for count in counts.tolist():
        ids.append(random.permutation(vocabulary)[:count])
        levels.append(np.sort(random.integers(0, top, count)))
    candidate = [own[0] if len(own) and random.random() < 0.7 else 0 for own in ids]
    return SparseSymbols(
        np.array(candidate, np.int32).reshape(-1),
        counts.astype(np.int32),
        np.concatenate([np.zeros(0, np.int32), *ids]).astype(np.int32),
        np.concatenate([np.zeros(0, np.int32), *levels]).astype(np.int32),
        np.where(counts > 0, random.integers(0, top, num_steps), 0).astype(np.int32),
    )


def check_round_trip(rows, max_candidates):
    fitted = SparseCodebook.of_rows(rows, max_candidates)
    book = SparseCodebook.from_bytes(fitted.to_bytes(), max_candidates)
    bodies = sparse_rows.encode(book, rows)
    assert bodies == sparse_rows.encode(fitted, rows)
    found, steps = sparse_rows.decode(book, bodies)
    whole = SparseSymbols.concatenate(rows)
    assert steps.tolist() == [len(row.counts) for row in rows]
    assert found.token_ids.tolist() == whole.token_ids.tolist()
    assert found.counts.tolist() == whole.counts.tolist()
    assert found.tails.tolist() == whole.tails.tolist()
    present = np.arange(max_candidates) < found.counts[:, None]
    assert found.ids[present].tolist() == whole.ids.tolist()
    assert found.levels[present].tolist() == whole.levels.tolist()
    assert not found.ids[~present].any()
    assert not found.levels[~present].any()
    return book, bodies


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 2**32),
    st.lists(st.integers(0, 12), min_size=1, max_size=5),
    st.integers(1, 9),
    st.booleans(),
)
def test_rows_come_back(seed, lengths, max_candidates, fixed):
    random = np.random.default_rng(seed)
    rows = [random_row(random, n, max_candidates, 40, fixed=fixed) for n in lengths]
    check_round_trip(rows, max_candidates)


def test_the_largest_numbers_come_back():
    random = np.random.default_rng(0)
    row = random_row(random, 6, 4, 40, fixed=True)
    row.ids[::3] = MAX_NUMBER - np.arange(len(row.ids[::3]))
    row.levels[3::4] = MAX_NUMBER
    row.tails[:] = MAX_NUMBER
    row.token_ids[1] = MAX_NUMBER
    check_round_trip([row], 4)


def test_chunks_join(monkeypatch):
    monkeypatch.setattr(sparse_rows, "_CHUNK_STEPS", 7)
    random = np.random.default_rng(1)
    check_round_trip([random_row(random, n, 5, 60) for n in (20, 0, 3, 11)], 5)


def test_frequent_ids_get_few_bits():
    random = np.random.default_rng(2)
    # 16 ids of a large vocabulary make nearly all candidates: 4 bits tell which.
    known = random.permutation(30_000)[:16]
    steps = 3000
    ids = np.stack([random.permutation(known)[:4] for _ in range(steps)])
    row = SparseSymbols(
        ids[:, 0].astype(np.int32),
        np.full(steps, 4, np.int32),
        ids.ravel().astype(np.int32),
        np.tile(np.arange(4), steps).astype(np.int32),
        np.zeros(steps, np.int32),
    )
    book, bodies = check_round_trip([row], 4)
    assert sorted(book.ranked_ids) == sorted(known)
    # Four ids of 4 to 4.6 bits; three gaps of 1, which shares its class with 2; 3 for the length.
    assert 8 * len(bodies[0]) / steps < 4 * 4.6 + 3 + 3


def test_ids_without_favourites_need_no_table():
    random = np.random.default_rng(3)
    book, bodies = check_round_trip([random_row(random, 40, 8, 32_000, fixed=True, top=2)], 8)
    assert len(book.ranked_ids) == 0
    # 15 bits an id, one or two a gap, and some for the step.
    assert 8 * len(bodies[0]) / 40 < 8 * (15.3 + 2) + 36


def test_a_body_that_does_not_fit_is_noticed():
    random = np.random.default_rng(4)
    book, bodies = check_round_trip([random_row(random, 9, 5, 60)], 5)
    for body in (bodies[0][:-3], bodies[0][:5], bodies[0][:4] + bytes([255] * 4) + bodies[0][8:]):
        with pytest.raises(ValueError, match=r"bits|bytes"):
            sparse_rows.decode(book, [body])


def test_a_damaged_codebook_is_noticed():
    random = np.random.default_rng(5)
    data = SparseCodebook.of_rows([random_row(random, 9, 5, 60)], 5).to_bytes()
    for wrong in (data[:-1], data + b"x", data[:20], b""):
        with pytest.raises(ValueError, match=r"table of|prefix code"):
            SparseCodebook.from_bytes(wrong, 5)
