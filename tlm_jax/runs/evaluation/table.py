"""Results of an evaluation on the terminal: what happened to questions, and a table of figures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tlm_jax.evaluation.outcomes import Outcome
from tlm_jax.system import terminal

_MOST_IDS = 10
_MEANS = ("task", "subject")
"""Traits of which benchmarks report the mean over groups."""


def notes(outcome: Outcome) -> Iterator[str]:
    """Yields lines on questions that were cut, or could not be graded."""
    if outcome.truncated:
        yield (
            f"note: of {outcome.truncated:,} prompts of {outcome.task} only the end was kept, "
            "because they are too long"
        )
    if outcome.unreadable:
        more = len(outcome.unreadable) - _MOST_IDS
        yield (
            f"note: the right answer of {len(outcome.unreadable):,} questions of {outcome.task} "
            f"cannot be read; not graded: {', '.join(outcome.unreadable[:_MOST_IDS])}"
            + (f" and {more:,} more, in results.json" if more > 0 else "")
        )


def show(summaries: Sequence[Mapping[str, Any]], comparisons: Sequence[Mapping[str, Any]]) -> None:
    """Prints the accuracies with intervals, and how later checkpoints differ from the first."""
    from rich.table import Table

    table = Table("checkpoint", "task", "mode", "right", "accuracy", "95% interval", "no answer")
    for row in summaries:
        low, high, accuracy = (row[f"accuracy{end}"] for end in ("_low", "_high", ""))
        table.add_row(
            row["checkpoint"],
            row["task"],
            row["mode"],
            f"{row['right']:,}/{row['questions']:,}",
            "–" if accuracy is None else f"{accuracy:.1%}",
            f"{low:.1%} to {high:.1%}",
            f"{row['unparsable_share']:.1%}",
        )
    console = terminal.console()
    console.print(table)
    for line in (*map(_mean_line, summaries), *map(_comparison_line, comparisons)):
        if line:
            console.print(line, markup=False)


def _mean_line(row: Mapping[str, Any]) -> str:
    parts = [
        f"mean over {len(found['groups'])} {name}s {found['mean']:.1%} "
        f"({found['mean_low']:.1%} to {found['mean_high']:.1%})"
        for name, found in row.get("by", {}).items()
        if name in _MEANS
    ]
    where = f"{row['checkpoint']}, {row['task']}, {row['mode']}"
    return f"{where}: {', '.join(parts)}" if parts else ""


def _comparison_line(row: Mapping[str, Any]) -> str:
    if row["difference"] is None:
        return ""
    return (
        f"{row['task']}, {row['mode']}: {row['first']} to {row['second']} "
        f"{row['difference']:+.1%} ({row['difference_low']:+.1%} to "
        f"{row['difference_high']:+.1%}), McNemar p = {row['p_value']:.3g}"
    )
