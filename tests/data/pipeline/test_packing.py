"""Packing keeps every element of every feature once, in order, apart from the others."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tlm_jax.data.pipeline.packing import assign_rows, lay_out, pack
from tlm_jax.ragged import Ragged, ranges, spans


def ragged(*sequences, dtype=np.int32):
    return Ragged.from_arrays([np.array(s, dtype) for s in sequences], dtype)


def test_ragged_by_hand():
    both = ragged([1, 2], [], [3])
    assert both.starts.tolist() == [0, 2, 2]
    assert both.append(9).values.tolist() == [1, 2, 9, 9, 3, 9]
    assert both.trim(1).values.tolist() == [1, 3]
    assert both.take(np.array([2, 0])).values.tolist() == [3, 1, 2]
    assert both.join(ragged([7], [8, 8], [])).values.tolist() == [1, 2, 7, 8, 8, 3]
    assert both[2].tolist() == [3]
    assert ranges(np.array([2, 0, 3])).tolist() == [0, 1, 0, 1, 2]
    assert spans(np.array([5, 9]), np.array([2, 3])).tolist() == [5, 6, 9, 10, 11]


def test_a_row_by_hand():
    packed = pack(
        {
            "inputs": {"inputs": ragged([7, 8, 5, 1], [8, 4, 9, 3, 1])},
            "targets": {"targets": ragged([3, 9, 1], [4, 1])},
        },
        {"inputs": 10, "targets": 7},
    )
    assert {name: value.tolist() for name, value in packed.items()} == {
        "inputs": [[7, 8, 5, 1, 8, 4, 9, 3, 1, 0]],
        "inputs_segment_ids": [[1, 1, 1, 1, 2, 2, 2, 2, 2, 0]],
        "inputs_positions": [[0, 1, 2, 3, 0, 1, 2, 3, 4, 0]],
        "targets": [[3, 9, 1, 4, 1, 0, 0]],
        "targets_segment_ids": [[1, 1, 1, 2, 2, 0, 0]],
        "targets_positions": [[0, 1, 2, 0, 1, 0, 0]],
    }


def test_zeros_stay_and_aligned_features_keep_rank_and_dtype():
    logprobs = Ragged.from_arrays(
        [np.array([[-1.7, -2.5], [-0.1, -9.0]], np.float32), np.array([[-0.5, -1.0]], np.float32)],
        np.float32,
    )
    packed = pack(
        {"targets": {"targets": ragged([0, 5], [0]), "teacher_logprobs": logprobs}},
        {"targets": 4},
        fills={"teacher_logprobs": -np.inf},
    )
    assert packed["targets"].tolist() == [[0, 5, 0, 0]]
    assert packed["targets_segment_ids"].tolist() == [[1, 1, 2, 0]]
    assert packed["teacher_logprobs"].dtype == np.float32
    expected = np.array([[-1.7, -2.5], [-0.1, -9.0], [-0.5, -1.0], [-np.inf, -np.inf]], np.float32)
    np.testing.assert_array_equal(packed["teacher_logprobs"], expected[None])


@st.composite
def examples_and_rows(draw):
    row_lengths = draw(st.tuples(st.integers(1, 40), st.integers(1, 40)))
    count = draw(st.integers(1, 40))
    lengths = [
        [draw(st.integers(0, row_lengths[0])), draw(st.integers(0, row_lengths[1]))]
        for _ in range(count)
    ]
    return np.array(lengths), row_lengths


@settings(max_examples=80, deadline=None)
@given(examples_and_rows(), st.randoms(use_true_random=False))
def test_every_element_appears_once_in_its_own_segment(drawn, random):
    lengths, row_lengths = drawn
    sequences = {
        axis: [[random.randrange(0, 4) for _ in range(n)] for n in lengths[:, number]]
        for number, axis in enumerate(("inputs", "targets"))
    }
    pairs = [np.arange(2 * n, dtype=np.int16).reshape(n, 2) + 1 for n in lengths[:, 1]]
    packed = pack(
        {
            "inputs": {"inputs": ragged(*sequences["inputs"])},
            "targets": {
                "targets": ragged(*sequences["targets"]),
                "pairs": Ragged.from_arrays(pairs, np.int16),
            },
        },
        dict(zip(("inputs", "targets"), row_lengths)),
    )
    rows = assign_rows(lengths, row_lengths)
    assert sorted(set(rows.tolist())) == list(range(rows.max() + 1))
    numbers = np.zeros(rows.max() + 1, int)
    for i, row in enumerate(rows):
        numbers[row] += 1
        for axis in ("inputs", "targets"):
            segment = packed[f"{axis}_segment_ids"][row]
            here = np.flatnonzero(segment == numbers[row])
            assert packed[axis][row][here].tolist() == sequences[axis][i]
            # One stretch, its positions counted from zero.
            assert np.all(np.diff(here) == 1)
            assert packed[f"{axis}_positions"][row][here].tolist() == list(range(len(here)))
        here = packed["targets_segment_ids"][row] == numbers[row]
        np.testing.assert_array_equal(packed["pairs"][row][here], pairs[i])
    for axis, number in (("inputs", 0), ("targets", 1)):
        assert np.count_nonzero(packed[f"{axis}_segment_ids"]) == lengths[:, number].sum()
        padding = packed[f"{axis}_segment_ids"] == 0
        assert not packed[axis][padding].any()
        # Padding stands only at the end of a row.
        assert np.all(np.diff(padding.astype(int), axis=1) >= 0)


def test_few_rows_are_used():
    generator = np.random.default_rng(0)
    lengths = generator.integers(40, 180, size=(512, 2))
    rows = assign_rows(lengths, (512, 512))
    fill = lengths.sum(axis=0) / ((rows.max() + 1) * 512)
    assert fill.max() > 0.96
    # One axis: best-fit decreasing needs at most 11/9 of the best, here far less.
    rows = assign_rows(lengths[:, :1], (512,))
    assert lengths[:, 0].sum() / ((rows.max() + 1) * 512) > 0.96


def test_gsm8k_fills_rows(shared_dir):
    import gzip
    import json

    from tlm_jax.vocabularies import SentencePieceVocabulary

    vocabulary = SentencePieceVocabulary(str(shared_dir / "fixtures/tokenizers/t5/spiece.model"))
    with gzip.open(shared_dir / "data/gsm8k_train.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = [json.loads(next(file)) for _ in range(1024)]
    inputs = [f"Q: {row['question']}\nLet's think step by step" for row in rows]
    targets = [f"{row['rationale']}\nThe answer is {row['answer']}" for row in rows]
    lengths = np.stack(
        [[len(ids) + 1 for ids in vocabulary.encode_batch(texts)] for texts in (inputs, targets)],
        axis=1,
    ).astype(np.int64)
    used = 0
    for start in (0, 512):
        used += assign_rows(lengths[start : start + 512], (512, 512)).max() + 1
    assert (lengths.sum(axis=0) / (used * 512)).max() >= 0.97


def test_too_long_examples_are_refused():
    with pytest.raises(ValueError, match=r"longer than its row \(4,\)"):
        assign_rows(np.array([[3], [5]]), (4,))
    with pytest.raises(ValueError, match="a row of 4 was given 5 elements"):
        lay_out(np.array([3, 2]), np.array([0, 0]), 1, 4)
