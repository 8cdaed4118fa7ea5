"""Addition of two n-digit numbers with STaR's scratchpad, endless by index."""

from __future__ import annotations

from dataclasses import dataclass

from tlm_jax.data.generators.draws import SPLITS, Draws, split_of
from tlm_jax.data.records import Record
from tlm_jax.errors import UserError


@dataclass(frozen=True)
class Addition:
    """Which sums to make.

    Attributes:
      seed: another seed gives another order of sums; no seed's training sums are another's test.
      min_digits, max_digits: both numbers have the same number of digits, every count of digits
        equally often, without leading zeros.
    """

    seed: int = 0
    min_digits: int = 1
    max_digits: int = 5

    def __post_init__(self) -> None:
        if not 1 <= self.min_digits <= self.max_digits:
            raise UserError(
                "Addition takes 1 <= min_digits <= max_digits, got "
                f"min_digits={self.min_digits}, max_digits={self.max_digits}."
            )


def addition(problems: Addition, split: str, index: int) -> Record:
    """Returns sum `index` of a split ('train', 'validation' or 'test'), the same one always.

    The splits share no sum: the unordered pair of numbers decides the split, so 'a + b' is never
    held out from a model trained on 'b + a'. (There are only 45 pairs of one digit.) Question and
    answer are digits divided by spaces, as in STaR; the rationale is the scratchpad.
    """
    if split not in SPLITS:
        raise UserError(f"Addition has the splits {', '.join(SPLITS)}, not {split!r}.")
    draws = Draws("addition", problems.seed, split, index)
    num_digits = draws.between(problems.min_digits, problems.max_digits)
    low, high = 10 ** (num_digits - 1), 10**num_digits - 1
    while True:
        first, second = draws.between(low, high), draws.between(low, high)
        if split_of(("addition", min(first, second), max(first, second))) == split:
            break
    return Record(
        id=f"addition-{problems.seed}-{split}-{index}",
        dataset="addition",
        split=split,
        kind="text",
        question=f"{_spaced(first)} + {_spaced(second)}",
        options=None,
        answer=_spaced(first + second),
        rationale=scratchpad(first, second),
        meta={"num_digits": num_digits},
    )


def scratchpad(first: int, second: int) -> str:
    """Returns the column-by-column sum of two numbers with the same number of digits.

    Each line shows the pair of digits that comes next, the digits of the sum so far and the carry
    of the pair just done; the line before the end is the final carry and the digits. STaR (Zelikman
    et al. 2022), Figure 3, with the bytes of the official generator.

    >>> print(scratchpad(4, 9))
    <scratch>
    4 + 9 , C: 0
    , 3 C: 1
    1 3
    </scratch>
    """
    top, bottom = str(first), str(second)
    if len(top) != len(bottom):
        raise UserError(f"{first} and {second} do not have the same number of digits.")
    lines = ["<scratch>", f"{_spaced(first)} + {_spaced(second)} , C: 0"]
    done: list[str] = []
    carry = 0
    for column in range(len(top) - 1, -1, -1):
        carry, digit = divmod(int(top[column]) + int(bottom[column]) + carry, 10)
        done.insert(0, str(digit))
        pair = f"{top[column - 1]} + {bottom[column - 1]} " if column else ""
        lines.append(f"{pair}, {' '.join(done)} C: {carry}")
    return "\n".join([*lines, f"{carry} {' '.join(done)}", "</scratch>"])


def _spaced(number: int) -> str:
    return " ".join(str(number))
