"""Numbers of training steps by loop."""

from __future__ import annotations

import abc
import dataclasses
import math

from tlm_jax.errors import UserError


class StepSchedule(abc.ABC):
    """How many steps a loop trains."""

    @abc.abstractmethod
    def steps(self, loop: int, examples: int, batch_size: int, *, rationalizes: bool) -> int:
        """Returns the number of steps.

        Args:
          loop: from 1.
          examples: kept in this loop.
          batch_size: rows of a batch.
          rationalizes: whether the arm asks again with hints.
        """


@dataclasses.dataclass(frozen=True)
class Exponential(StepSchedule):
    """int(first * growth ** (loop - 1)): 40, 48, ..., as `--exponential_grow` of the official code.

    Attributes:
      first: steps of loop 1.
      growth: from loop to loop.
      most: no loop trains more; the paper's GSM8K runs stop growing at 7,912, those of loop 30.
    """

    first: int = 40
    growth: float = 1.2
    most: int | None = None

    def __post_init__(self) -> None:
        _at_least(1, first=self.first)
        if self.growth <= 0:
            raise UserError(f"Exponential.growth is {self.growth}, expected above 0")

    def steps(self, loop: int, examples: int, batch_size: int, *, rationalizes: bool) -> int:
        steps = int(self.first * self.growth ** (loop - 1))
        return steps if self.most is None else min(steps, self.most)


@dataclasses.dataclass(frozen=True)
class Linear(StepSchedule):
    """first + increment * (loop - 1), as `--steady_grow` of the official code.

    Attributes:
      first: steps of loop 1.
      increment: from loop to loop.
    """

    first: int = 40
    increment: int = 20

    def __post_init__(self) -> None:
        _at_least(1, first=self.first)
        _at_least(0, increment=self.increment)

    def steps(self, loop: int, examples: int, batch_size: int, *, rationalizes: bool) -> int:
        return self.first + self.increment * (loop - 1)


@dataclasses.dataclass(frozen=True)
class Epochs(StepSchedule):
    """As many as go first + increment * (loop - 1) times through the kept examples, one a row.

    The official code's default, which has about 10 examples a row.

    Attributes:
      first: epochs of loop 1.
      increment: from loop to loop.
    """

    first: float = 1.0
    increment: float = 0.2

    def steps(self, loop: int, examples: int, batch_size: int, *, rationalizes: bool) -> int:
        epochs = self.first + self.increment * (loop - 1)
        return max(1, math.ceil(epochs * examples / batch_size))


@dataclasses.dataclass(frozen=True)
class ByArm(StepSchedule):
    """Another schedule in each arm, as the paper's Figure 4 has it; its arms differ in both.

    Attributes:
      plain: without rationalization; in the figure 40 * 1.2 ** (loop - 1).
      rationalized: with it; in the figure 300 + 20 * (loop - 1).
    """

    plain: StepSchedule = dataclasses.field(default_factory=Exponential)
    rationalized: StepSchedule = dataclasses.field(default_factory=lambda: Linear(300, 20))

    def steps(self, loop: int, examples: int, batch_size: int, *, rationalizes: bool) -> int:
        chosen = self.rationalized if rationalizes else self.plain
        return chosen.steps(loop, examples, batch_size, rationalizes=rationalizes)


def _at_least(least: int, **given: int) -> None:
    for name, value in given.items():
        if value < least:
            raise UserError(f"{name} of the step schedule is {value}, expected at least {least}")
