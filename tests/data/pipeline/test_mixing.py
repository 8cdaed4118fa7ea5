"""Mixtures hold the rates, tasks are gone through exactly, and every place can be read alone."""

import collections

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tlm_jax.data.pipeline.mixing import ExampleOrder, block_counts
from tlm_jax.errors import UserError


def located(order, start, stop):
    tasks, indices = order.locate(np.arange(start, stop))
    return [(order.names[t], int(i)) for t, i in zip(tasks, indices)]


@given(st.lists(st.floats(1e-3, 1.0), min_size=1, max_size=6))
def test_a_block_keeps_the_rates(rates):
    counts = block_counts(np.array(rates))
    shares = np.array(rates) / sum(rates)
    size = counts.sum()
    assert size <= 1 << 16
    np.testing.assert_array_less(np.abs(counts - shares * size), 1.0 + 1e-9)
    assert counts.min() >= 1


def test_a_block_by_hand():
    assert block_counts(np.array([3.0, 1.0])).tolist() == [48, 16]
    # 1/3 of 64 is 21.3: too coarse, and 2**k / 3 is never whole, so the error just gets small.
    counts = block_counts(np.array([1.0, 2.0]))
    assert abs(counts[0] / counts.sum() * 3 - 1) <= 1e-3


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 3), st.integers(1, 40), st.integers(1, 40))
def test_every_epoch_of_every_task_holds_every_example_once(seed, small, large):
    sizes = {"a": small, "b": large}
    order = ExampleOrder({"a": 0.25, "b": 0.75}, sizes, seed=seed)
    seen = collections.defaultdict(list)
    for name, index in located(order, 0, 64 * 8):
        seen[name].append(index)
    for name, size in sizes.items():
        indices = seen[name]
        # Within a block a task's turns come in a shuffled order, so compare whole stretches.
        counts = collections.Counter(indices)
        epochs = len(indices) // size
        assert all(epochs <= counts[i] <= epochs + 1 for i in range(size))
    assert len(seen["a"]) == 128
    assert len(seen["b"]) == 384


def test_places_can_be_read_alone():
    order = ExampleOrder({"a": 1.0, "b": 2.0, "c": 0.1}, {"a": 7, "b": None, "c": 100}, seed=3)
    together = located(order, 100, 400)
    alone = [located(order, p, p + 1)[0] for p in range(100, 400)]
    assert together == alone


def test_one_task_is_shuffled_anew_every_epoch():
    order = ExampleOrder({"a": 1.0}, {"a": 50}, seed=1)
    epochs = [[i for _, i in located(order, 50 * e, 50 * e + 50)] for e in range(3)]
    for epoch in epochs:
        assert sorted(epoch) == list(range(50))
    assert epochs[0] != epochs[1] != epochs[2]


def test_without_shuffling_and_endless_tasks_are_in_order():
    plain = ExampleOrder({"a": 1.0}, {"a": 5}, shuffle=False)
    assert [i for _, i in located(plain, 0, 12)] == [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1]
    endless = ExampleOrder({"a": 1.0}, {"a": None})
    assert [i for _, i in located(endless, 7, 12)] == [7, 8, 9, 10, 11]


def test_a_task_keeps_its_order_when_others_join():
    alone = ExampleOrder({"a": 1.0}, {"a": 20}, seed=5)
    mixed = ExampleOrder({"b": 1.0, "a": 1.0}, {"a": 20, "b": 9}, seed=5)
    seen = [i for name, i in located(mixed, 0, 64) if name == "a"]
    # 32 turns of "a" in a block: the same multiset as its own first 32 positions.
    assert sorted(seen) == sorted(i for _, i in located(alone, 0, 32))


def test_fixed_epochs_go_through_each_task_in_turn():
    order = ExampleOrder({"a": 9.0, "b": 1.0}, {"a": 3, "b": 2}, shuffle=False, num_epochs=2)
    assert order.total == 10
    expected = [("a", i) for i in (0, 1, 2, 0, 1, 2)] + [("b", i) for i in (0, 1, 0, 1)]
    assert located(order, 0, 10) == expected


def test_totals():
    assert ExampleOrder({"a": 1.0}, {"a": 3}).total is None
    assert ExampleOrder({"a": 1.0}, {"a": 3}, num_epochs=1, max_examples=2).total == 2
    assert ExampleOrder({"a": 1.0}, {"a": 3}, num_epochs=1, max_examples=9).total == 3
    assert ExampleOrder({"a": 1.0}, {"a": None}, num_epochs=1, max_examples=9).total == 9


def test_an_endless_task_has_no_epochs():
    with pytest.raises(UserError, match="'a' is endless, so num_epochs=1 would never end"):
        ExampleOrder({"a": 1.0}, {"a": None}, num_epochs=1)


def test_an_empty_task_is_an_error():
    with pytest.raises(UserError, match="'a' has no examples"):
        ExampleOrder({"a": 1.0}, {"a": 0})
