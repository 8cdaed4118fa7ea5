"""Groups of rows that share a prompt, all of one size."""

from __future__ import annotations

from collections.abc import Container

from tlm_jax.decoding.running import Waiting

ROUNDS = 4
"""How many samples of a prompt a row should see, where other prompts wait: until the last of them
have ended, the rows beside them are idle."""


class Groups:
    """Rows in groups: the first `size` rows are the first group.

    Args:
      rows: how many there are.
      size: how many share a prompt; a divisor of `rows`.
    """

    def __init__(self, rows: int, size: int):
        self.size = size
        self.prompts: list[Waiting | None] = [None] * (rows // size)
        """What each group's rows have samples of; None where that does not matter any more."""

    def free(self, group: int, running: Container[int]) -> list[int]:
        """Returns the rows of a group that are not running."""
        first = group * self.size
        return [row for row in range(first, first + self.size) if row not in running]

    def forget_placed(self) -> None:
        """Lets go of prompts all of whose samples have begun."""
        self.prompts = [
            waiting if waiting is not None and waiting.left() else None for waiting in self.prompts
        ]

    def have(self, waiting: Waiting) -> bool:
        """Tells whether some group has this prompt."""
        return any(prompt is waiting for prompt in self.prompts)


def group_size(rows: int, fewest_samples: int, *, others_wait: bool) -> int:
    """Returns how many rows are to share a prompt.

    Args:
      rows: how many there are, of those that must not be torn apart.
      fewest_samples: that any prompt has.
      others_wait: whether there are more samples than rows.
    """
    most = fewest_samples // ROUNDS if others_wait else fewest_samples
    return max(size for size in range(1, rows + 1) if rows % size == 0 and size <= max(most, 1))
