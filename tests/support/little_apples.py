"""Questions of one sum, with solutions like those of embedded word problems."""

from __future__ import annotations

from tlm_jax.data.records import Record


def apples(first: int, second: int, split: str = "train") -> Record:
    """Returns a question whose solution is found like that of an embedded word problem."""
    total = first + second
    return Record(
        id=f"{first}+{second}",
        dataset="word_problems",
        split=split,
        kind="numeric",
        question=f"{first} and {second} apples?",
        options=None,
        answer=str(total),
        rationale=f"It is {first} + {second} = {total}.",
    )


TRAIN = [apples(a, b) for a in range(1, 5) for b in range(1, 5)]
DEV = [apples(a, b, "dev") for a in (5, 6) for b in (1, 2)]
