"""Rounds prompt lengths up to a few sizes, so that decoding compiles a handful of times."""

from __future__ import annotations

_PREFIX_STEP = 64


def prefix_bucket(length: int) -> int:
    """Returns the least multiple of 64 that holds a prefix.

    A run has few prefixes, so that finer steps than those of prompts compile no more programs, and
    every step of every row attends to the padding.
    """
    return -(-length // _PREFIX_STEP) * _PREFIX_STEP


def bucket_length(length: int, limit: int, *, smallest: int = 32) -> int:
    """Returns the least of `smallest`, 2 * `smallest`, 4 * `smallest`, ..., `limit` that holds it.

    At most log2(limit / smallest) + 2 different values come out, and at most half of a bucket
    beyond the smallest is padding.

    Example: with limit 200, lengths 1..32 give 32, 33..64 give 64, 65..128 give 128, 129..200
    give 200.

    Args:
      length: number of tokens, at most `limit`.
      limit: the largest length there can be; itself a bucket.
      smallest: the first bucket.
    """
    assert length <= limit, f"length {length} exceeds the limit {limit}"
    bucket = smallest
    while bucket < length:
        bucket *= 2
    return min(bucket, limit)
