"""Buckets are few, hold what they are given, and end at the limit."""

from tlm_jax.decoding.buckets import bucket_length


def test_powers_of_two_times_the_smallest_up_to_the_limit():
    buckets = [bucket_length(n, 200) for n in range(201)]
    assert sorted(set(buckets)) == [32, 64, 128, 200]
    assert all(n <= bucket for n, bucket in enumerate(buckets))
    assert buckets == sorted(buckets)


def test_limit_below_the_smallest_bucket_is_the_only_bucket():
    assert {bucket_length(n, 7) for n in range(8)} == {7}
