"""Draws a survey of a task in the terminal."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from tlm_jax.data.shown_examples import ShownExample, Token
from tlm_jax.data.survey import LengthSummary, PackedRow, Survey
from tlm_jax.system.terminal import printable

_SEGMENT_STYLES = ("cyan", "blue", "green", "magenta", "yellow", "bright_cyan")
_BAR_WIDTH = 56
_ROWS_DRAWN = 6


def list_tasks(rows: Iterable[Sequence[str]], console: Console) -> None:
    """Prints (name, kind, splits or members, description) of each task, one a line."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("name", no_wrap=True)
    table.add_column("kind", no_wrap=True)
    table.add_column("splits or members", no_wrap=True, max_width=44)
    table.add_column("what", no_wrap=True, ratio=1 if console.is_terminal else None)
    for name, *others in rows:
        table.add_row(Text(name, style="bold"), *map(Text, others))
    console.print(table)


def draw(survey: Survey, console: Console, *, packing: bool = True) -> None:
    """Prints everything about a task or mixture."""
    console.print(_heading(survey))
    for number, example in enumerate(survey.examples, start=1):
        console.print(
            Rule(Text(f"example {number}: {printable(example.example_id)}"), align="left")
        )
        console.print(_example(example))
    console.print(Rule("lengths", align="left"))
    for name, summary in survey.lengths.items():
        console.print(_histogram(name, summary, survey.lengths_given))
    if not packing:
        return
    console.print(Rule("packing", align="left"))
    console.print(_fill_table(survey))
    for number, row in enumerate(survey.rows[:_ROWS_DRAWN], start=1):
        console.print(_row(number, row, survey.axes))
    console.print(_boundary(survey))


def _heading(survey: Survey) -> RenderableType:
    facts = Table.grid(padding=(0, 2))
    facts.add_row("what", Text(survey.description))
    facts.add_row("split", survey.split)
    for task, rate in survey.rates.items():
        size = survey.sizes[task]
        count = "endless" if size is None else f"{size:,} examples"
        share = f", {rate:.1%} of the mixture" if len(survey.rates) > 1 else ""
        facts.add_row("holds", Text(f"{task}: {count}{share}"))
    facts.add_row("vocabulary", f"{survey.vocabulary.size:,} ids, {survey.vocabulary!r}")
    facts.add_row("model", survey.architecture.replace("_", "-"))
    return Panel(facts, title=Text(survey.name, style="bold"), title_align="left")


def _example(example: ShownExample) -> RenderableType:
    parts: list[RenderableType] = [Text(f"from {example.task}", style="dim")]
    for form, inputs, targets in example.texts:
        parts.append(Text(form, style="bold underline"))
        if inputs is not None:
            parts.append(_labelled("inputs", Text(_shown(inputs))))
        parts.append(_labelled("targets", Text(_shown(targets), style="green")))
    carried = ", ".join(f"{name}={value!r}" for name, value in example.carried.items())
    parts.append(_labelled("carried", Text(_shown(carried), style="dim")))
    for axis, tokens in example.sequences.items():
        for label, run in itertools.groupby(tokens, key=_run_label):
            parts.append(_labelled(f"{axis}, {label}", _pieces(tuple(run))))
    return Padding(Group(*parts), (0, 0, 1, 1))


def _shown(text: str) -> str:
    return printable(text, keep="\n\t")


def _labelled(label: str, content: Text) -> RenderableType:
    grid = Table.grid(padding=(0, 1))
    grid.add_column(width=18, style="dim")
    grid.add_column(overflow="fold")
    grid.add_row(label, content)
    return grid


def _run_label(token: Token) -> str:
    if token.cut:
        return "cut off"
    return "tokens" if token.weight is None else f"weight {token.weight:g}"


def _pieces(tokens: tuple[Token, ...]) -> Text:
    text = Text()
    for number, token in enumerate(tokens):
        style = "red strike" if token.cut else ("green" if token.weight else "")
        text.append("│" if number else "", style="dim")
        text.append(token.piece.replace("\n", "↵"), style=style)
    text.append(f"  ({len(tokens)})", style="dim")
    return text


def _histogram(name: str, summary: LengthSummary, given: bool) -> RenderableType:
    lengths = summary.lengths
    counts, edges = summary.histogram(12)
    bars = Table.grid(padding=(0, 1))
    bars.add_column(justify="right", style="dim")
    bars.add_column()
    bars.add_column(justify="right", style="dim")
    for count, low, high in zip(counts, edges, edges[1:]):
        width = int(np.ceil(_BAR_WIDTH * count / max(counts.max(), 1)))
        style = "red" if low >= summary.limit else "cyan"
        bars.add_row(f"{low:.0f}–{high:.0f}", Text("█" * width, style=style), str(count))
    share = summary.truncated / len(lengths)
    facts = (
        f"{name}: mean {lengths.mean():.1f}, median {np.median(lengths):.0f}, "
        f"95 % {np.percentile(lengths, 95):.0f}, longest {lengths.max()}; "
        f"length {summary.limit}{'' if given else ' (the longest of the sample)'} "
        f"truncates {summary.truncated} of {len(lengths)} ({share:.1%}), "
        f"{summary.lost_tokens:.2%} of the tokens"
    )
    return Padding(Group(Text(facts, style="bold"), bars), (0, 0, 1, 1))


def _fill_table(survey: Survey) -> RenderableType:
    table = Table(box=None, header_style="dim")
    for column in ("axis", "positions", "fill, one example a row", "fill, packed", "rows saved"):
        table.add_column(column, justify="left" if column == "axis" else "right")
    sample = len(next(iter(survey.lengths.values())).lengths)
    for axis, length in survey.axes.items():
        table.add_row(
            axis,
            str(length),
            f"{survey.unpacked_fill[axis]:.1%}",
            f"{survey.packed_fill[axis]:.1%}",
            f"{sample} → {len(survey.rows)}",
        )
    return Padding(table, (0, 0, 1, 0))


def _row(number: int, row: PackedRow, axes: Mapping[str, int]) -> RenderableType:
    lines: list[RenderableType] = []
    for column, (axis, length) in enumerate(axes.items()):
        used = row.lengths[:, column]
        ends = np.round(np.cumsum(used) * _BAR_WIDTH / length).astype(int)
        bar = Text()
        for segment, (start, end) in enumerate(zip([0, *ends], ends)):
            style = _SEGMENT_STYLES[segment % len(_SEGMENT_STYLES)]
            # Alternating shades keep segments apart without colours too.
            bar.append("█▓"[segment % 2] * (end - start), style=style)
        bar.append("·" * (_BAR_WIDTH - int(ends[-1])), style="dim")
        label = f"row {number}" if column == 0 else ""
        detail = f"{axis} {used.sum()}/{length}, {len(used)} segments"
        lines.append(Text.assemble((f" {label:<8}", "dim"), bar, (f"  {detail}", "dim")))
    return Group(*lines)


def _boundary(survey: Survey) -> RenderableType:
    """Shows the decoder's features round the first place where two segments meet."""
    segments = survey.arrays["decoder_segment_ids"][0]
    meets = np.flatnonzero(np.diff(segments))
    middle = int(meets[0]) + 1 if meets.size else len(segments)
    window = range(max(middle - 4, 0), min(middle + 4, len(segments)))
    table = Table(box=None, header_style="dim", title_justify="left", title_style="dim")
    table.title = "row 1 where segment 1 ends"
    table.add_column("position in row", style="dim")
    for position in window:
        table.add_column(str(position), justify="right")
    for name, values in survey.arrays.items():
        if name.startswith("decoder"):
            table.add_row(name, *(f"{values[0][p]:g}" for p in window))
    pieces = [survey.vocabulary.piece(int(i)) for i in survey.arrays["decoder_target_tokens"][0]]
    table.add_row("target piece", *(Text(_shown(pieces[p]), style="green") for p in window))
    return Padding(table, (1, 0, 0, 0))
