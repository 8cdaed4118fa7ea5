"""Sparse steps come back exactly, whatever their form; their size is bounded."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tlm_jax.teacher_cache import sparse_rows
from tlm_jax.teacher_cache.encoding import MAX_VOCABULARY
from tlm_jax.teacher_cache.sparse_codebook import SparseCodebook
from tlm_jax.teacher_cache.sparse_symbols import SparseSymbols

LARGEST = MAX_VOCABULARY - 1


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
    row.ids[::3] = LARGEST - np.arange(len(row.ids[::3]))
    row.levels[3::4] = LARGEST
    row.tails[:] = LARGEST
    row.token_ids[1] = LARGEST
    check_round_trip([row], 4)


@pytest.mark.parametrize("gap", [0, 1, 254, 255, 256, 70_000])
def test_gaps_of_every_size_come_back(gap):
    random = np.random.default_rng(6)
    row = random_row(random, 5, 3, 40, fixed=True)
    row.levels[:] = np.tile([7, 7 + gap, 7 + 2 * gap], 5)
    check_round_trip([row], 3)


def test_groups_join(monkeypatch):
    monkeypatch.setattr(sparse_rows, "_GROUP_CANDIDATES", 20)
    random = np.random.default_rng(1)
    check_round_trip([random_row(random, n, 5, 60) for n in (20, 0, 3, 11)], 5)


def test_frequent_ids_get_one_byte():
    random = np.random.default_rng(2)
    # 16 ids of a large vocabulary are all candidates.
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
    # All else repeats from step to step, and hardly counts.
    assert len(bodies[0]) / steps < 4 + 0.1


def test_ids_without_favourites_cost_their_table():
    random = np.random.default_rng(3)
    steps = 2000
    row = random_row(random, steps, 8, 32_000, fixed=True, top=2)
    book, bodies = check_round_trip([row], 8)
    # 15 bits an id become 16, and differences of neighbours in the table take about a byte.
    assert len(bodies[0]) / steps < 8 * (2 + 1 / 4) + 4
    assert len(book.to_bytes()) < 1.2 * len(book.ranked_ids)


def test_a_body_that_does_not_fit_is_noticed():
    random = np.random.default_rng(4)
    book, bodies = check_round_trip([random_row(random, 9, 5, 60)], 5)
    whole = bodies[0]
    for body, message in (
        (whole[:-3], "its bytes are no stream of Deflate"),
        (whole[:5], "a row of less than 12 bytes"),
        (whole[:8] + bytes([255] * 4) + whole[12:], "more steps than the row has bytes"),
        (bytes([whole[0] + 1]) + whole[1:], "fewer than no candidates|than it says|are expected"),
    ):
        for others in ([], bodies):
            with pytest.raises(ValueError, match=message):
                sparse_rows.decode(book, [*others, body])


def test_a_damaged_codebook_is_noticed():
    random = np.random.default_rng(5)
    data = SparseCodebook.of_rows([random_row(random, 9, 5, 60)], 5).to_bytes()
    for wrong in (data[:-1], data + b"x", data[:20], b""):
        with pytest.raises(ValueError, match="table of"):
            SparseCodebook.from_bytes(wrong, 5)
