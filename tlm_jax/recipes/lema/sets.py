"""What each arm of a comparison trains on, with counts that are exact."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Iterable, Sequence
from typing import Literal, TypeVar, get_args

import numpy as np

from tlm_jax.errors import UserError, nearest
from tlm_jax.recipes.lema.forms import Field, Pair

Base = Literal[
    "cot", "lema", "lema_rows", "lema_tokens", "cot_rows", "cot_tokens", "lema_two_stages"
]
T = TypeVar("T")

_WITHOUT = "lema_without_"
_ARM = re.compile(r"(\w+)(?:@(\d*\.?\d+))?")


@dataclasses.dataclass(frozen=True)
class Arm:
    """One arm.

    - `cot`: all chains of thought.
    - `lema`: these and all corrections.
    - `lema_rows`: as many rows as `cot`: chains drop out for corrections (the paper's LEMA-32K).
    - `cot_rows`: as many rows as `lema`: chains, and the corrected solution of each correction as
      one (CoT-45K).
    - `lema_tokens`: as many target tokens as `cot`; `cot_tokens`: as many as `lema` (CoT-5.8M): its
      further rows are the corrected solutions, then chains again.
    - `lema_without_step`, `_explanation`, `_solution`: `lema` with that field left out.
    - `lema_two_stages`: corrections first, then chains, each alone.

    Attributes:
      name: as it is written, with `@0.5` for half of the corrections.
      base: what it is.
      share: of the corrections; smaller shares are parts of larger ones.
      without: fields that are left out of corrections.
    """

    name: str
    base: Base
    share: float = 1.0
    without: tuple[Field, ...] = ()


@dataclasses.dataclass(frozen=True)
class Row:
    """A row to train on.

    Attributes:
      id: unique among rows of its kind.
      pair: its texts.
      tokens: of the targets, their end included.
    """

    id: str
    pair: Pair
    tokens: int


@dataclasses.dataclass(frozen=True)
class Corrected:
    """A correction as a row, and its solution as a chain of thought."""

    correction: Row
    chain: Row


def arm_of(name: str) -> Arm:
    """Returns the arm of a name.

    Raises:
      UserError: there is none.
    """
    match = _ARM.fullmatch(name)
    base, share = (match[1], float(match[2] or 1)) if match else (name, 1.0)
    known = [*get_args(Base), *(_WITHOUT + field for field in get_args(Field))]
    if base not in known:
        raise UserError(
            f"ARMS has {name!r}.{nearest(base, known)} Arms: {', '.join(known)}; with '@0.5' "
            "behind them, half of the corrections"
        )
    if not 0 < share <= 1 or (base == "cot" and match and match[2]):
        raise UserError(f"ARMS has {name!r}, expected a share of corrections above 0, at most 1")
    if base.startswith(_WITHOUT):
        return Arm(name, "lema", share, (base.removeprefix(_WITHOUT),))  # pyright: ignore[reportArgumentType]
    return Arm(name, base, share)  # pyright: ignore[reportArgumentType]


def rows_of(
    arm: Arm, chains: Sequence[Row], corrected: Sequence[Corrected], seed: int
) -> list[list[Row]]:
    """Returns what an arm trains on, one list a stage of training.

    Args:
      arm: which one.
      chains: the chains of thought.
      corrected: all corrections, without the fields that the arm leaves out.
      seed: of what is left out, and what comes twice.

    Raises:
      UserError: there are more corrections than the size that is to be kept.
    """
    some = used(corrected, arm.share)
    corrections = [one.correction for one in some]
    if arm.base == "cot":
        return [list(chains)]
    if not some:
        raise UserError(
            f"the arm {arm.name} has no corrections: {len(corrected):,} were kept, of which it "
            f"takes {arm.share:g}; correct more wrong paths, or train the arm 'cot' alone"
        )
    if arm.base == "lema":
        return [[*chains, *corrections]]
    if arm.base == "lema_two_stages":
        return [corrections, list(chains)]
    if arm.base == "lema_rows":
        _check_size(arm, len(corrections), len(chains), "rows")
        kept = _shuffled(chains, seed)[: len(chains) - len(corrections)]
        return [[*kept, *corrections]]
    if arm.base == "lema_tokens":
        most = tokens(chains)
        _check_size(arm, tokens(corrections), most, "target tokens")
        return [[*_filled(_shuffled(chains, seed), most - tokens(corrections)), *corrections]]
    as_chains = [one.chain for one in some]
    if arm.base == "cot_rows":
        return [[*chains, *as_chains]]
    wanted = tokens(corrections)
    repeated = itertools.chain.from_iterable(
        _shuffled(chains, seed + epoch) for epoch in range(1 + wanted // max(tokens(chains), 1))
    )
    return [[*chains, *_filled([*_shuffled(as_chains, seed), *repeated], wanted)]]


def used(corrected: Sequence[Corrected], share: float) -> list[Corrected]:
    """Returns a share of the corrections, whatever the arm, so that arms of a share compare."""
    return _shuffled(corrected, 0)[: round(share * len(corrected))]


def tokens(rows: Iterable[Row]) -> int:
    """Returns the target tokens of rows."""
    return sum(row.tokens for row in rows)


def _filled(rows: Sequence[Row], room: int) -> list[Row]:
    """Returns rows in their order, each for which there is room: what stays fits no other row."""
    found = []
    for row in rows:
        if row.tokens <= room:
            found.append(row)
            room -= row.tokens
    return found


def _shuffled(rows: Sequence[T], seed: int) -> list[T]:
    order = np.random.default_rng(seed).permutation(len(rows))
    return [rows[int(place)] for place in order]


def _check_size(arm: Arm, corrections: int, size: int, unit: str) -> None:
    if corrections > size:
        raise UserError(
            f"the arm {arm.name} is to have the {size:,} {unit} of the arm 'cot', but its "
            f"corrections alone have {corrections:,}: take a share of them, such as "
            f"'{arm.base}@{size / corrections / 2:.2g}', or more chains of thought"
        )
