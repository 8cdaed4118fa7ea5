"""Draws a heat map in the terminal."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from tlm_jax.reports.heat_map import HeatMap, StepView
from tlm_jax.system.terminal import printable

# (probability from, style, label); dark letters on a ground that warms as the token surprises.
_SCALE = (
    (0.9, "", "90 % or more"),
    (0.5, "black on rgb(255,243,196)", "50 %"),
    (0.1, "black on rgb(255,214,130)", "10 %"),
    (0.01, "black on rgb(250,160,90)", "1 %"),
    (0.0, "white on rgb(200,60,60)", "less"),
)
_DROPPED = "dim strike"
_LISTED = 12


def draw(maps: Iterable[HeatMap], console: Console) -> None:
    """Prints each text with its surprises, and the least probable tokens with what was likelier."""
    for heat in maps:
        console.print(Rule(Text(printable(f"{heat.example_id} · {heat.key}")), align="left"))
        console.print(_legend())
        console.print(Padding(_text(heat), (0, 0, 1, 1)))
        console.print(_surprises(heat))


def _legend() -> Text:
    text = Text("the teacher's probability of each token: ", style="dim")
    for _, style, label in _SCALE:
        text.append(f" {label} ", style=style or "not dim")
    return text


def _text(heat: HeatMap) -> Text:
    text = Text()
    for step in heat.steps:
        shown = printable(step.text, keep="\n\t").replace("\n", "↵\n")
        text.append(shown, style=_DROPPED if step.dropped else _style(step))
    return text


def _style(step: StepView) -> str:
    likely = step.probability or 0.0
    return next(style for least, style, _ in _SCALE if likely >= least)


def _surprises(heat: HeatMap) -> RenderableType:
    known = [(n, step) for n, step in enumerate(heat.steps) if not step.dropped]
    known.sort(key=lambda item: item[1].probability or 0.0)
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("step", justify="right")
    table.add_column("token", no_wrap=True)
    table.add_column("probability", justify="right", no_wrap=True)
    table.add_column("the teacher's candidates", ratio=1)
    table.add_column("outside", justify="right", no_wrap=True)
    for number, step in known[:_LISTED]:
        others = Text(overflow="fold")
        for text, share in step.candidates[:5]:
            others.append(f"{text!r} ")
            others.append(f"{share:.1%}  ", style="dim")
        table.add_row(
            str(number), Text(repr(step.text)), percentage(step), others, f"{step.tail:.1%}"
        )
    dropped = sum(step.dropped for step in heat.steps)
    facts = f"{len(heat.steps)} tokens, {heat.mean_nll_nats:.3f} nats a token"
    if dropped:
        facts += f", {dropped} steps dropped"
    return Group(Text(f"{facts}; the least probable:", style="dim"), table, Text())


def percentage(step: StepView) -> str:
    """Returns the probability of a step's token as people read it."""
    if step.dropped:
        return "dropped"
    if step.probability is None:
        return f"< {step.below:.2%}" if step.below else "0 draws"
    return f"{step.probability:.2%}"
