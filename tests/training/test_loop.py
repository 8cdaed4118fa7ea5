"""The loop steps and calls hooks in their order, stops where asked, and closes whatever ends it."""

import jax.numpy as jnp
import numpy as np
import pytest

from tlm_jax.training import loop
from tlm_jax.training.loop import Fed, Hook, feed, run_loop
from tlm_jax.training.state import TrainState
from tlm_jax.training.step import StepMetrics
from tlm_jax.training.stopping import StopRequest


class _Recorder(Hook):
    """Notes when it is called; raises after the step `fails_after`, or when closed."""

    def __init__(self, name, told, *, fails_after=None, fails_closing=False):
        self.name, self.told = name, told
        self.fails_after, self.fails_closing = fails_after, fails_closing
        self.events = []

    def after_step(self, event):
        self.told.append(f"{self.name} {event.step}")
        self.events.append(event)
        if event.step == self.fails_after:
            raise RuntimeError(f"{self.name} failed")

    def close(self):
        self.told.append(f"{self.name} closed")
        if self.fails_closing:
            raise RuntimeError(f"{self.name} cannot close")


class _Stop(StopRequest):
    """Notes when it is entered and left, and asks for a stop after a step."""

    def __init__(self, told, after=None):
        super().__init__()
        self.told, self.after = told, after

    def __enter__(self):
        self.told.append("watching")
        return self

    def __exit__(self, *unused):
        self.told.append("not watching")

    def agreed(self, step):
        return step == self.after


def _train_step(state, batch):
    state = state._replace(step=state.step + 1)
    return state, StepMetrics({}, {"x": batch["x"]}, jnp.asarray(True))


def _batches(told):
    """Yields batches without end that carry their number, from 0."""
    number = 0
    while True:
        told.append(f"batch {number}")
        yield Fed({"x": jnp.asarray(number)}, [(f"example {number}",)], dict, 0.0)
        number += 1


def _run(told, hooks, *, first_step=0, train_steps=3, stop_after=None, train_step=_train_step):
    return run_loop(
        state=TrainState(jnp.asarray(first_step), {}, (), jnp.zeros(2, jnp.uint32)),
        train_step=train_step,
        batches=_batches(told),
        first_step=first_step,
        train_steps=train_steps,
        hooks=hooks,
        stop=_Stop(told, stop_after),
    )


def test_each_step_takes_one_batch_and_then_calls_the_hooks_in_order():
    told = []
    first, second = _Recorder("a", told), _Recorder("b", told)
    state, step = _run(told, [first, second], train_steps=2)
    assert (int(state.step), step) == (2, 2)
    assert told == [
        *("batch 0", "watching", "a 1", "b 1"),
        *("batch 1", "a 2", "b 2"),
        *("a closed", "b closed", "not watching"),
    ]


def test_hooks_are_told_of_the_step_its_batch_its_metrics_and_the_state_after_it():
    told = []
    hook = _Recorder("a", told)
    state, step = _run(told, [hook], first_step=5, train_steps=8)
    assert (int(state.step), step) == (8, 8)
    assert [event.step for event in hook.events] == [6, 7, 8]
    assert [int(event.state.step) for event in hook.events] == [6, 7, 8]
    assert [int(event.metrics.scalars["x"]) for event in hook.events] == [0, 1, 2]
    assert [event.fed.example_ids for event in hook.events] == [
        [(f"example {number}",)] for number in range(3)
    ]
    assert [event.last for event in hook.events] == [False, False, True]


@pytest.mark.parametrize("first_step", [3, 4])
def test_nothing_left_to_train_takes_no_batch_and_closes(first_step):
    told = []
    state, step = _run(told, [_Recorder("a", told)], first_step=first_step)
    assert (int(state.step), step) == (first_step, first_step)
    assert told == ["a closed"]


def test_a_stop_ends_after_its_step_which_is_the_last_for_every_hook():
    told = []
    hooks = [_Recorder("a", told), _Recorder("b", told)]
    state, step = _run(told, hooks, train_steps=9, stop_after=2)
    assert (int(state.step), step) == (2, 2)
    assert "batch 2" not in told
    for hook in hooks:
        assert [event.last for event in hook.events] == [False, True]


def test_a_stop_can_come_after_the_first_step():
    told = []
    hook = _Recorder("a", told)
    assert _run(told, [hook], stop_after=1)[1] == 1
    assert [event.last for event in hook.events] == [True]


def test_a_failing_hook_ends_the_run_and_all_are_closed():
    told = []
    hooks = [_Recorder("a", told, fails_after=2), _Recorder("b", told)]
    with pytest.raises(RuntimeError, match="a failed"):
        _run(told, hooks)
    assert told[-4:] == ["a 2", "a closed", "b closed", "not watching"]


def test_a_hook_that_cannot_close_keeps_no_other_from_it():
    told = []
    with pytest.raises(RuntimeError, match="a cannot close"):
        _run(told, [_Recorder("a", told, fails_closing=True), _Recorder("b", told)], train_steps=1)
    assert told[-3:] == ["a closed", "b closed", "not watching"]


def test_a_failing_first_step_is_watched_by_nobody():
    def fails(state, batch):
        raise FloatingPointError("does not compile")

    told = []
    with pytest.raises(FloatingPointError, match="does not compile"):
        _run(told, [_Recorder("a", told)], train_step=fails)
    assert told == ["batch 0", "a closed"]


def test_batches_carry_the_time_that_they_took(monkeypatch):
    now = 10.0
    monkeypatch.setattr(loop.time, "perf_counter", lambda: now)
    made = []

    def next_batch():
        nonlocal now
        made.append(len(made))
        now += len(made)
        number = made[-1]
        return {"x": np.asarray(number)}, [(f"example {number}",)], lambda: {"position": number}

    batches = feed(next_batch)
    first = next(batches)
    now += 100.0  # the step's own time is not the batch's
    second = next(batches)
    assert made == [0, 1]  # none is made before it is asked for
    assert (first.wait_seconds, second.wait_seconds) == (1.0, 2.0)
    assert (int(first.arrays["x"]), int(second.arrays["x"])) == (0, 1)
    assert second.example_ids == [("example 1",)]
    assert second.data_state() == {"position": 1}
