"""Counts of an import: what it met, kept and left out."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

from tlm_jax.data.teacher_imports.captured import Captured, Piece, TokenSteps
from tlm_jax.data.teacher_imports.distributions import pieces_in


class LeftOut:
    """How many solutions were kept or left out, by reason, and where the first of each stands."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._first: dict[str, str] = {}

    def add(self, reason: object, captured: Captured) -> None:
        """Counts a solution."""
        self.counts[str(reason)] += 1
        self._first.setdefault(str(reason), captured.place)

    def where(self, reason: str) -> str:
        """Returns ' (first: PLACE)' for people."""
        return f" (first: {self._first[reason]})" if reason in self._first else ""

    def summary(self) -> str:
        """Returns all reasons in one line."""
        found = (f"{n:,} {why}{self.where(why)}" for why, n in self.counts.most_common())
        return ", ".join(found) or "no solution"


class Survey:
    """What tokens and how many candidates a first reading met."""

    def __init__(self) -> None:
        self.pieces: set[Piece] = set()
        self.widths: Counter[int] = Counter()

    def add(self, captured: Captured | None) -> None:
        """Takes a solution's steps."""
        if captured is None or captured.steps is None:
            return
        if isinstance(captured.steps, TokenSteps):
            self.widths[captured.steps.steps.ids.shape[1]] += len(captured.steps.token_ids)
            return
        self.pieces |= pieces_in(captured.steps)
        for step in captured.steps:
            self.widths[sum(value > -math.inf for _, value in step.alternatives)] += 1


def say(left_out: LeftOut, survey: Survey, output_dir: Path, tokens: int, seconds: float) -> None:
    """Prints what an import kept and left out."""
    counts = left_out.counts
    new, there = counts["kept"], counts["there already"]
    print(f"kept      {new:,} solutions, {tokens:,} tokens, {tokens / seconds:,.0f} tokens/s")
    if there:
        print(f"there     {there:,} already")
    for reason, n in counts.most_common():
        if reason not in ("kept", "there already"):
            print(f"left out  {n:,} {reason}{left_out.where(reason)}")
    usual = survey.widths.most_common(1)[0][0] if survey.widths else 0
    if none := survey.widths[0]:
        print(
            f"note: {none:,} of {survey.widths.total():,} tokens have no candidates of their own "
            "(a server joined the tokens of a character, say); the teacher says nothing there"
        )
    fewer = sum(n for width, n in survey.widths.items() if 0 < width < usual)
    if fewer:
        print(
            f"note: {fewer:,} of {survey.widths.total():,} tokens have fewer than the usual "
            f"{usual} candidates; the mass of all others is their tail"
        )
    print(f"cache     {output_dir}", flush=True)
