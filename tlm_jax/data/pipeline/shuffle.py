"""A shuffle that can be read at any place: pseudo-random permutations without a table."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int, Integer, UInt64

_ROUNDS = 6
_MASK_64 = (1 << 64) - 1


def permute(
    positions: Integer[np.ndarray, "n"], size: int, *key: int | np.ndarray
) -> Int[np.ndarray, "n"]:
    """Returns where a pseudo-random permutation of [0, size) sends `positions`.

    A balanced Feistel network permutes the smallest domain of 4**k numbers that holds `size`;
    results outside [0, size) are sent through it again until they fall inside (cycle walking, at
    most 4 times on average). Only integer arithmetic is used, so every NumPy gives the same order.

    Args:
      positions: numbers in [0, size).
      size: the size of the permuted set; at least 1 and below 2**62.
      key: integers that choose the permutation, such as (seed, epoch); each is one number, or one
        for each position.

    Returns:
      int64 images; distinct positions under one key have distinct images.
    """
    if size < 1:
        raise ValueError(f"cannot permute a set of {size} elements")
    half_bits = max(1, ((size - 1).bit_length() + 1) // 2)
    keys = np.broadcast_to(_hash_key(key), positions.shape)
    images = positions.astype(np.uint64)
    outside = np.arange(images.size)
    while outside.size:
        images[outside] = _feistel(images[outside], keys[outside], half_bits)
        outside = outside[images[outside] >= size]
    return images.astype(np.int64)


def chosen(size: int | None, count: int | None, seed: int | None) -> Int[np.ndarray, "n"]:
    """Returns the indices of `count` of `size` examples, in ascending order.

    A larger count holds the same examples and further ones. Files are often grouped by task,
    subject or difficulty, so the first of them stand for a part only.

    Args:
      size: how many there are; None for no end, of which the first are taken.
      count: how many are wanted; None, or more than there are, for all.
      seed: of the sample; None takes the first ones.
    """
    counts = [n for n in (size, count) if n is not None]
    assert counts, "all of an endless number"
    if size is None or seed is None or min(counts) == size:
        return np.arange(min(counts))
    return np.sort(permute(np.arange(min(counts)), size, seed))


def _feistel(
    values: Integer[np.ndarray, "n"], keys: Integer[np.ndarray, "n"], half_bits: int
) -> Integer[np.ndarray, "n"]:
    mask = np.uint64((1 << half_bits) - 1)
    shift = np.uint64(half_bits)
    left, right = values >> shift, values & mask
    for number in range(_ROUNDS):
        mixed = _mix(right ^ _mix(keys + np.uint64(number)))
        left, right = right, left ^ (mixed & mask)
    return (left << shift) | right


def _hash_key(key: tuple[int | np.ndarray, ...]) -> UInt64[np.ndarray, "keys"]:
    """Returns one 64-bit number for each position, or a single one for all."""
    hashed = np.array([0x243F6A8885A308D3], np.uint64)  # the first 64 bits of pi's fraction
    for part in key:
        word = part.astype(np.uint64) if isinstance(part, np.ndarray) else _as_word(part)
        hashed = _mix(hashed ^ word)
    return hashed


def _as_word(number: int) -> UInt64[np.ndarray, "1"]:
    return np.array([number & _MASK_64], np.uint64)


def _mix(values: UInt64[np.ndarray, "n"]) -> UInt64[np.ndarray, "n"]:
    """SplitMix64's output function (Steele, Lea, Flood 2014): a bijection of 64-bit numbers."""
    # Array arithmetic modulo 2**64 is meant; NumPy warns of overflow for scalars only.
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
