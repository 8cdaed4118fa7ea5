"""Steps by loop, as published."""

import pytest

from tlm_jax.errors import UserError
from tlm_jax.recipes.star.schedules import ByArm, Epochs, Exponential, Linear


def steps(schedule, loop, *, examples=100, batch_size=10, rationalizes=True):
    return schedule.steps(loop, examples, batch_size, rationalizes=rationalizes)


def test_exponential_is_that_of_the_official_code():
    # methods.md 3.2: 40, 48, ..., 82 (loop 5), 206 (10), 616 (16), 7,912 (30).
    found = [steps(Exponential(), loop) for loop in (1, 2, 5, 10, 16, 30)]
    assert found == [40, 48, 82, 206, 616, 7912]
    assert steps(Exponential(most=7912), 36) == 7912


def test_linear_and_epochs():
    assert [steps(Linear(), loop) for loop in (1, 2, 5)] == [40, 60, 120]
    # 1.0, 1.2, ... epochs of 100 examples, 10 a step.
    assert [steps(Epochs(), loop) for loop in (1, 2, 6)] == [10, 12, 20]
    assert steps(Epochs(), 1, examples=3) == 1


def test_the_arms_of_figure_4_differ_in_their_steps():
    found = [steps(ByArm(), 3, rationalizes=arm) for arm in (True, False)]
    assert found == [340, 57]


def test_senseless_ones_are_refused():
    with pytest.raises(UserError, match="first of the step schedule is 0, expected at least 1"):
        Exponential(first=0)
    with pytest.raises(UserError, match="growth is 0"):
        Exponential(growth=0)
