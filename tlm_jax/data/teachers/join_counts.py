"""Counts of the examples that were joined with a teacher's rows, and of those that were not."""

from __future__ import annotations

import dataclasses

from tlm_jax.alignment.mapping import Coverage


@dataclasses.dataclass
class JoinCounts:
    """How many examples were joined, and why others were not.

    Attributes:
      matched: have a row whose text is theirs.
      missing: the caches know neither text nor example.
      stale: the caches know the example, but with another text: it has changed since scoring.
      refused: the row's tokens are not those of the example's text.
      coverage: of the matched examples' tokens.
      first_unmatched: the id of the first example without a row, and why.
    """

    matched: int = 0
    missing: int = 0
    stale: int = 0
    refused: int = 0
    coverage: Coverage = dataclasses.field(default_factory=Coverage)
    first_unmatched: str = ""

    @property
    def examples(self) -> int:
        """How many were looked up."""
        return self.matched + self.missing + self.stale + self.refused

    def lines(self) -> list[str]:
        """Returns all counts in two lines, for the terminal."""
        counts = ", ".join(
            f"{getattr(self, name):,} {name}" for name in ("matched", "missing", "stale", "refused")
        )
        text = f"teacher rows of the {self.examples:,} examples read: {counts}"
        if self.first_unmatched:
            text += f"; first without: {self.first_unmatched}"
        found = self.coverage
        if not found.soft:
            return [text]
        return [
            text,
            f"of their tokens {found.soft / found.tokens:.1%} have the teacher's distribution, "
            f"{found.hard / found.tokens:.1%} themselves as the target, "
            f"{found.dropped / found.tokens:.1%} none; candidates that the student has hold "
            f"{found.kept_mass / found.soft:.1%} of the mass",
        ]
