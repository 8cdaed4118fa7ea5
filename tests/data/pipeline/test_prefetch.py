"""Prefetching keeps the order, stays within its depth, and passes errors on."""

import itertools
import threading
import time

import pytest

from tlm_jax.data.pipeline.prefetch import Prefetcher


def wait_until(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_items_come_in_order_and_end():
    prefetched = Prefetcher(iter(range(20)), depth=3)
    assert list(prefetched) == list(range(20))
    with pytest.raises(StopIteration):
        next(prefetched)
    assert prefetched.wait_seconds >= 0.0
    prefetched.close()


def test_at_most_depth_items_are_made_ahead():
    asked = 0
    ahead = []

    def items():
        for number in itertools.count():
            ahead.append(number + 1 - asked)
            yield number

    prefetched = Prefetcher(items(), depth=2)
    wait_until(lambda: len(ahead) == 3)  # two in the queue and one in hand
    for number in range(200):
        asked += 1
        assert next(prefetched) == number
    wait_until(lambda: len(ahead) == 203)
    prefetched.close()
    assert max(ahead) == 3


def test_an_error_is_raised_where_its_item_would_be():
    def items():
        yield 1
        raise ValueError("broken")

    prefetched = Prefetcher(items())
    assert next(prefetched) == 1
    for _ in range(2):
        with pytest.raises(ValueError, match="broken"):
            next(prefetched)
    prefetched.close()


def test_closing_stops_the_thread():
    before = threading.active_count()
    prefetched = Prefetcher(itertools.count(), depth=1)
    next(prefetched)
    prefetched.close()
    assert threading.active_count() == before
    with pytest.raises(StopIteration):
        next(prefetched)
