"""The one training loop: fetch a batch, step, call the hooks in their order."""

from __future__ import annotations

import abc
import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from tlm_jax.training.state import TrainState
from tlm_jax.training.step import StepMetrics, TrainStep
from tlm_jax.training.stopping import StopRequest
from tlm_jax.types import Batch


class Fed(NamedTuple):
    """One batch on the devices, and what the host knows about it.

    Attributes:
      arrays: global arrays.
      example_ids: the ids of the examples in each of this host's rows.
      data_state: returns the pipeline's position after this batch; call it before the next one
        is fetched, on all hosts together.
      wait_seconds: how long the loop waited for it.
    """

    arrays: Batch
    example_ids: Sequence[Sequence[str]]
    data_state: Callable[[], dict]
    wait_seconds: float


class StepEvent(NamedTuple):
    """A step that has been dispatched; its metrics may not have been computed yet.

    Attributes:
      step: number of steps taken, this one included.
      state: the state after the step; valid until the next step donates it.
      metrics: device arrays.
      fed: the batch of this step.
      last: whether the loop ends after this step.
    """

    step: int
    state: TrainState
    metrics: StepMetrics
    fed: Fed
    last: bool


class Hook(abc.ABC):
    """Something that happens after steps; hooks are called in the order of their list."""

    @abc.abstractmethod
    def after_step(self, event: StepEvent) -> None:
        """Is called when a step has been dispatched."""

    def close(self) -> None:  # noqa: B027 (most hooks have nothing to close)
        """Is called when the loop ends, whatever ends it."""


def run_loop(
    *,
    state: TrainState,
    train_step: TrainStep,
    batches: Iterator[Fed],
    first_step: int,
    train_steps: int,
    hooks: Sequence[Hook],
    stop: StopRequest,
) -> tuple[TrainState, int]:
    """Trains from `first_step` to `train_steps`, or until a stop is asked for.

    `stop` is entered after the first step, which may compile for minutes: until then there is
    nothing to save, and a signal is nobody's to wait for. It is left when the hooks are closed.

    Returns:
      The final state and the number of steps taken in all.
    """
    step = first_step
    with contextlib.ExitStack() as stopping, contextlib.ExitStack() as closing:
        for hook in reversed(hooks):
            closing.callback(hook.close)
        while step < train_steps:
            fed = next(batches)
            state, metrics = train_step(state, fed.arrays)
            step += 1
            if step == first_step + 1:
                stopping.enter_context(stop)
            agreed = stop.agreed(step)
            event = StepEvent(step, state, metrics, fed, last=agreed or step == train_steps)
            for hook in hooks:
                hook.after_step(event)
            if agreed:
                break
    return state, step


def feed(
    next_batch: Callable[[], tuple[Batch, Sequence[Sequence[str]], Callable[[], dict]]],
) -> Iterator[Fed]:
    """Yields batches with the time that each made the loop wait."""
    while True:
        start = time.perf_counter()
        arrays, example_ids, data_state = next_batch()
        yield Fed(arrays, example_ids, data_state, time.perf_counter() - start)
