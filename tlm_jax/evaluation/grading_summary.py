"""Tells what came of grading a file: for a person at a terminal, and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tlm_jax.evaluation.file_grading import FileGrades, GradedItem, Tally
from tlm_jax.evaluation.intervals import wilson
from tlm_jax.evaluation.rules.rule import Rule
from tlm_jax.system.terminal import printable

_TAIL_CHARACTERS = 80


def as_json(grades: FileGrades, rule: Rule) -> dict[str, Any]:
    """Returns the figures as a JSON object, with every prediction that needs a look.

    Accuracies are shares, with Wilson's interval at 95 %.
    """
    return {
        "rule": rule.name,
        **_tally_json(grades.total),
        "mean_of_groups": grades.mean_of_groups,
        "groups": {name: _tally_json(tally) for name, tally in grades.groups.items() if name},
        "labelled": grades.labelled,
        "agreeing": grades.agreeing,
        "false_positives": [_item_json(item) for item in grades.false_positives],
        "false_negatives": [_item_json(item) for item in grades.false_negatives],
        "unreadable_golds": [_item_json(item) for item in grades.unreadable_golds],
        "undecided": [_item_json(item) for item in grades.undecided],
    }


def print_summary(grades: FileGrades, rule: Rule, console: Console, *, show: int) -> None:
    """Prints accuracy by group, agreement with labels, and up to `show` predictions of a kind."""
    console.print(Text(f"{rule.name}: {rule.summary}"), soft_wrap=True)
    console.print(_table(grades))
    if grades.labelled:
        wrong_way = f"{len(grades.false_positives):,} right only by the rule, "
        wrong_way += f"{len(grades.false_negatives):,} right only by the label"
        share = 100 * grades.agreeing / grades.labelled
        line = f"{grades.agreeing:,} of {grades.labelled:,} labels agree ({share:.2f}%); "
        console.print(Text(line + wrong_way), soft_wrap=True)
    _list("right only by the rule", grades.false_positives, console, show)
    _list("right only by the label", grades.false_negatives, console, show)
    _list("gold answer not readable, not graded", grades.unreadable_golds, console, show)
    _list("no verdict, counted as wrong", grades.undecided, console, show)


def _table(grades: FileGrades) -> Table:
    grouped = [(name, tally) for name, tally in grades.groups.items() if name]
    published = any(tally.published is not None for _, tally in grouped)
    table = Table(box=None, pad_edge=False)
    headings = ["", "right", "of", "accuracy", "95% interval", "no answer"]
    for heading in headings + ["published"] * published:
        table.add_column(heading, justify="right" if heading else "left", no_wrap=True)
    for name, tally in grouped:
        table.add_row(Text(printable(name)), *_cells(tally, published))
    table.add_row("all", *_cells(grades.total, False))
    if len(grouped) > 1 and grades.mean_of_groups is not None:
        table.add_row("mean of groups", "", "", f"{100 * grades.mean_of_groups:.2f}%")
    return table


def _cells(tally: Tally, published: bool) -> list[str]:
    cells = [f"{tally.correct:,}", f"{tally.graded:,}", "-", "-", f"{tally.no_answer:,}"]
    if tally.accuracy is not None:
        low, high = wilson(tally.correct, tally.graded)
        cells[2:4] = f"{100 * tally.accuracy:.2f}%", f"{100 * low:.1f} to {100 * high:.1f}"
    if published:
        cells.append("" if tally.published is None else f"{tally.published:.2f}%")
    return cells


def _list(title: str, items: Sequence[GradedItem], console: Console, show: int) -> None:
    if not items:
        return
    more = f", first {show:,}" if len(items) > show else ""
    console.print(Text(f"\n{len(items):,} {title}{more}:" if show else f"{len(items):,} {title}"))
    for item in items[:show]:
        found = "no answer" if item.extracted is None else f"found {_short(item.extracted)}"
        line = f"{item.where} {item.id}: {found}, gold {_short(item.gold)}"
        if item.undecided:
            line += f", {item.undecided}"
        # The end, because there the answer stands.
        line += f"; ends {(item.text or '')[-_TAIL_CHARACTERS:]!r}"
        console.print(Text(printable(line)), soft_wrap=True)


def _short(text: str) -> str:
    return repr(text if len(text) <= _TAIL_CHARACTERS else text[: _TAIL_CHARACTERS - 3] + "...")


def _tally_json(tally: Tally) -> dict[str, Any]:
    low, high = wilson(tally.correct, tally.graded)
    return {
        "count": tally.count,
        "graded": tally.graded,
        "correct": tally.correct,
        "accuracy": tally.accuracy,
        "interval": [low, high],
        "no_answer": tally.no_answer,
        **({} if tally.published is None else {"published": tally.published}),
    }


def _item_json(item: GradedItem) -> dict[str, Any]:
    return {
        "where": item.where,
        "id": item.id,
        "group": item.group,
        "extracted": item.extracted,
        "gold": item.gold,
        "correct": item.correct,
        "label": item.label,
        "undecided": item.undecided,
        "prediction": item.text,
    }
