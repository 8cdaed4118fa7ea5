"""Numbers coded by size come back, in few bits."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tlm_jax.teacher_cache.bit_stream import WINDOW_BITS, pack, padded, windows
from tlm_jax.teacher_cache.prefix_codes import ABSENT, MAX_CLASS, LengthCode, classes_of

NUMBERS = st.lists(st.integers(0, (1 << MAX_CLASS) - 2), min_size=1, max_size=50)


def code_of(numbers):
    return LengthCode.of_counts(np.bincount(classes_of(np.array(numbers))))


def test_a_code_by_hand():
    # Classes 0, 1 and 2 (numbers 0, 1-2, 3-6) occur 4, 2 and 1 times: prefixes 0, 10 and 11.
    code = LengthCode.of_counts(np.array([4, 2, 1]))
    assert code.lengths == (1, 2, 2, *[ABSENT] * (MAX_CLASS - 2))
    bits, lengths = code.encode(np.array([0, 1, 2, 3, 5]))
    # Written from the lowest bit: 0, then 1 0 0, 1 0 1, 1 1 00, 1 1 01 (5 + 1 = 110 in binary).
    assert lengths.tolist() == [1, 3, 3, 4, 4]
    assert [format(b, f"0{n}b")[::-1] for b, n in zip(bits.tolist(), lengths.tolist())] == [
        *("0", "100", "101", "1100", "1101")
    ]


def test_one_number_alone_takes_no_prefix():
    code = LengthCode.of_counts(np.array([7]))
    assert code.constant_zero
    assert code.encode(np.zeros(3, np.int64))[1].tolist() == [0, 0, 0]


@settings(deadline=None)
@given(NUMBERS)
def test_numbers_come_back(numbers):
    numbers = np.array(numbers)
    code = LengthCode.from_bytes(code_of(numbers).to_bytes())
    bits, lengths = code.encode(numbers)
    data = padded([pack(bits, lengths).tobytes()])
    places = (np.cumsum(lengths) - lengths).astype(np.uint64)
    found, used = code.decode(windows(data, places))
    assert found.tolist() == numbers.tolist()
    assert used.tolist() == lengths.tolist()
    assert max(lengths) <= 8 + MAX_CLASS - 1
    assert code.cost(np.bincount(classes_of(numbers))) == lengths.sum()


@settings(deadline=None)
@given(st.lists(st.integers(0, 10**6), min_size=2, max_size=MAX_CLASS + 1))
def test_prefixes_are_close_to_the_entropy(counts):
    counts = np.array(counts)
    code = LengthCode.of_counts(counts)
    if counts.sum() == 0:
        return
    shares = counts[counts > 0] / counts.sum()
    entropy = -(shares * np.log2(shares)).sum()
    raw = (counts * np.arange(len(counts))).sum()
    mean = (code.cost(counts) - raw) / counts.sum()
    # Huffman's bound, and what a limit of 8 bits costs classes rarer than 1 / 256.
    assert entropy - 1e-9 <= mean <= entropy + 1 + 0.1


@pytest.mark.parametrize(
    "lengths",
    [
        [ABSENT] * (MAX_CLASS + 1),  # no class
        [1] + [ABSENT] * MAX_CLASS,  # half of all windows without a meaning
        [1, 1, 1] + [ABSENT] * (MAX_CLASS - 2),  # windows with two
    ],
)
def test_what_is_no_prefix_code_is_refused(lengths):
    data = bytes(a | b << 4 for a, b in zip([*lengths, 0][::2], [*lengths, 0][1::2]))
    with pytest.raises(ValueError, match="not the lengths of a prefix code"):
        LengthCode.from_bytes(data)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, WINDOW_BITS), max_size=100), st.integers(0, 2**32))
def test_streams_of_any_lengths_come_back(lengths, seed):
    lengths = np.array(lengths, np.int64)
    random = np.random.default_rng(seed)
    mask = (np.uint64(1) << lengths.astype(np.uint64)) - np.uint64(1)
    codes = random.integers(0, 2**64, len(lengths), np.uint64) & mask
    stream = pack(codes, lengths)
    assert len(stream) == (lengths.sum() + 7) // 8
    places = (np.cumsum(lengths) - lengths).astype(np.uint64)
    assert (windows(padded([stream.tobytes()]), places) & mask).tolist() == codes.tolist()
    # Bit i of the stream is bit i % 8 of byte i // 8.
    text = "".join(format(c, f"0{n}b")[::-1] for c, n in zip(codes.tolist(), lengths.tolist()) if n)
    assert "".join(format(byte, "08b")[::-1] for byte in stream)[: len(text)] == text
