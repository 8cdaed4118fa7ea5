"""How many rows share a prompt, and which slots are free for the tokens of all."""

import numpy as np
import pytest

from tlm_jax.decoding.groups import Groups, group_size
from tlm_jax.decoding.ledger import Ledger


@pytest.mark.parametrize(
    ("rows", "fewest", "others_wait", "size"),
    [
        (8, 1, False, 1),
        (16, 8, False, 8),  # two prompts with eight samples each fill the rows
        (40, 40, False, 40),
        (16, 40, True, 8),  # each row sees four samples or more of the same prompt
        (16, 8, True, 2),
        (16, 3, True, 1),
        (6, 4, False, 3),  # a divisor
    ],
)
def test_size_of_groups(rows, fewest, others_wait, size):
    assert group_size(rows, fewest, others_wait=others_wait) == size


def test_free_rows_of_a_group():
    groups = Groups(6, 3)
    assert groups.free(0, {1, 3}) == [0, 2]
    assert groups.free(1, {1, 3}) == [4, 5]


@pytest.mark.parametrize("window", [None, 5, 64, 100])
def test_slots_in_use_are_not_claimed(window):
    """Samples of 30 steps begin at every tenth: what they may see is never written over."""
    ledger = Ledger(window)
    holds: dict[int, int] = {}
    while ledger.step < 600:
        oldest = max(0, (ledger.step // 10 - 2) * 10)
        first, number = ledger.claim(16, oldest)
        assert 1 <= number <= 16
        assert first + number <= ledger.slots
        for slot in range(first, first + number):
            seen_from = ledger.step - (window or 10**9) + 1
            assert not max(oldest, seen_from) <= holds.get(slot, -1) < ledger.step
        for offset in range(number):
            holds[first + offset] = ledger.step + offset
        ledger.used(first, number)
    assert ledger.slots == 64


def test_a_window_as_wide_as_its_slots_leaves_room_for_whole_calls():
    ledger, calls = Ledger(64), []
    while ledger.step < 2000:
        first, number = ledger.claim(16, 0)
        ledger.used(first, number)
        calls.append(number)
    assert ledger.slots == 128
    assert np.mean(calls) > 12
