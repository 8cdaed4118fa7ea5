"""Draws a survey of a task as one self-contained HTML page; all text is escaped."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tlm_jax.data.shown_examples import ShownExample, Token
from tlm_jax.data.survey import LengthSummary, PackedRow, Survey
from tlm_jax.reports.html import Html, details, element, page, section, table, tiles

_ROWS_DRAWN = 24
_BINS = 32


def document(survey: Survey, *, packing: bool = True) -> str:
    """Returns the page."""
    sample = len(next(iter(survey.lengths.values())).lengths)
    parts = [
        tiles(_headline(survey, sample)),
        _tasks(survey) if len(survey.rates) > 1 else None,
        section(
            "Examples",
            *(_example(number, example) for number, example in enumerate(survey.examples, 1)),
            note="As text in every format the data set has, then as the tokens the model gets.",
        ),
        section(
            "Lengths",
            *(_lengths(name, summary, survey) for name, summary in survey.lengths.items()),
            note=f"Tokens of each feature over {sample:,} examples, end tokens included.",
        ),
    ]
    if packing:
        parts += [_packing(survey, sample), _positions(survey)]
    subtitle = f"{survey.description} · split {survey.split} · {survey.vocabulary!r}"
    return page(survey.name, *parts, subtitle=subtitle, style=_STYLE)


def _headline(survey: Survey, sample: int) -> list[tuple[str, object, str]]:
    sizes = [size for size in survey.sizes.values() if size is not None]
    endless = len(sizes) < len(survey.sizes)
    facts: list[tuple[str, object, str]] = [
        ("Examples", "endless" if endless else f"{sum(sizes):,}", f"{sample:,} measured here"),
        ("Vocabulary", f"{survey.vocabulary.size:,}", "token ids"),
    ]
    for name, summary in survey.lengths.items():
        mean = f"{summary.lengths.mean():.0f}"
        facts.append((f"Mean {name}", mean, f"tokens; longest {summary.lengths.max()}"))
    for name, summary in survey.lengths.items():
        share = summary.truncated / len(summary.lengths)
        facts.append((f"Truncated {name}", f"{share:.1%}", f"at {summary.limit} tokens"))
    axis = max(survey.packed_fill, key=lambda a: survey.packed_fill[a])
    before = f"{survey.unpacked_fill[axis]:.0%} with one example a row"
    facts.append((f"Packed fill, {axis}", f"{survey.packed_fill[axis]:.1%}", before))
    return facts


def _tasks(survey: Survey) -> Html:
    rows = [
        (name, f"{rate:.2%}", "endless" if survey.sizes[name] is None else survey.sizes[name])
        for name, rate in survey.rates.items()
    ]
    return section("Mixture", table(("task", "share", "examples"), rows, numeric=(1, 2)))


def _example(number: int, example: ShownExample) -> Html:
    formats = [
        details(form, _text(inputs, targets), expanded=place == 0)
        for place, (form, inputs, targets) in enumerate(example.texts)
    ]
    carried = table(("carried field", "value"), list(example.carried.items()))
    tokens = [
        element(
            "div",
            element("h3", f"{axis} · {sum(not token.cut for token in sequence)} tokens"),
            element("p", *(_token(place, token) for place, token in enumerate(sequence))),
            class_="tokens",
        )
        for axis, sequence in example.sequences.items()
    ]
    legend = element(
        "p",
        element("span", "no loss", class_="token"),
        element("span", "loss weight above 0", class_="token loss"),
        element("span", "cut off", class_="token cut"),
        " · point at a token for its id",
        class_="note legend",
    )
    return element(
        "div",
        element("h3", f"Example {number} · {example.example_id}"),
        element("p", f"from {example.task}", class_="note"),
        *formats,
        details("fields carried to evaluation", carried),
        legend,
        *tokens,
        class_="card",
    )


def _text(inputs: str | None, targets: str) -> Html:
    sides = [("inputs", inputs), ("targets", targets)]
    return element(
        "div",
        *(
            element("div", element("h3", name), element("pre", text))
            for name, text in sides
            if text is not None
        ),
        class_="sides",
    )


def _token(place: int, token: Token) -> Html:
    kind = "token cut" if token.cut else ("token loss" if token.weight else "token")
    weight = "" if token.weight is None else f", weight {token.weight:g}"
    title = f"position {place}, id {token.token_id}{weight}"
    # A line break among the pieces breaks the line here too, so that shapes of text show.
    breaks = element("br") if token.piece in ("\n", "↵", "<0A>") else None
    shown = token.piece.replace("\n", "↵")
    return element("span", element("span", shown, class_=kind, title=title), breaks)


def _lengths(name: str, summary: LengthSummary, survey: Survey) -> Html:
    counts, edges = summary.histogram(_BINS)
    top = max(int(counts.max()), 1)
    bars = [
        element(
            "div",
            class_="bar over" if low >= summary.limit else "bar",
            style=f"height:{100 * count / top:.1f}%",
            title=f"{low:.0f} to {high:.0f} tokens: {count} examples",
        )
        for count, low, high in zip(counts, edges, edges[1:])
    ]
    position = 100 * summary.limit / edges[-1]
    limit = element("div", class_="limit", style=f"left:{position:.2f}%")
    given = "" if survey.lengths_given else " (the longest of the sample)"
    facts = table(
        ("mean", "median", "95 %", "longest", "length", "truncated", "tokens lost"),
        [
            (
                f"{summary.lengths.mean():.1f}",
                f"{np.median(summary.lengths):.0f}",
                f"{np.percentile(summary.lengths, 95):.0f}",
                int(summary.lengths.max()),
                f"{summary.limit}{given}",
                f"{summary.truncated} ({summary.truncated / len(summary.lengths):.1%})",
                f"{summary.lost_tokens:.2%}",
            )
        ],
        numeric=range(7),
    )
    return element(
        "div",
        element("h3", name),
        element("div", *bars, limit if position <= 100 else None, class_="histogram"),
        element(
            "div", element("span", "0"), element("span", f"{edges[-1]:.0f} tokens"), class_="ends"
        ),
        facts,
        class_="card",
    )


def _packing(survey: Survey, sample: int) -> Html:
    fill = table(
        ("axis", "positions", "fill, one example a row", "fill, packed"),
        [
            (axis, length, f"{survey.unpacked_fill[axis]:.1%}", f"{survey.packed_fill[axis]:.1%}")
            for axis, length in survey.axes.items()
        ],
        numeric=(1, 2, 3),
    )
    rows = [_row(n, row, survey.axes) for n, row in enumerate(survey.rows[:_ROWS_DRAWN], start=1)]
    note = (
        f"{sample:,} examples share {len(survey.rows):,} rows. Each block is an example; attention "
        f"never crosses blocks. The first {len(rows)} rows:"
    )
    return section("Packing", fill, element("div", *rows, class_="card"), note=note)


def _row(number: int, row: PackedRow, axes: Mapping[str, int]) -> Html:
    lines = []
    for column, (axis, length) in enumerate(axes.items()):
        blocks = [
            element(
                "div",
                class_=f"block s{place % 6 + 1}",
                style=f"width:{100 * int(tokens) / length:.3f}%",
                title=f"{example_id}: {tokens} {axis} tokens",
            )
            for place, (example_id, tokens) in enumerate(
                zip(row.example_ids, row.lengths[:, column])
            )
        ]
        used = f"{axis} {row.lengths[:, column].sum()}/{length}"
        label = f"row {number}" if column == 0 else ""
        lines += [
            element("span", label, class_="label"),
            element("div", *blocks, class_="lane"),
            element("span", used, class_="label"),
        ]
    return element("div", *lines, class_="packed")


def _positions(survey: Survey) -> Html:
    """Shows the model features of the first packed row, position by position."""
    blocks = []
    for axis, length in survey.axes.items():
        names = [name for name in survey.arrays if name.startswith(axis)]
        real = int((survey.arrays[f"{axis}_segment_ids"][0] > 0).sum())
        shown = min(real + 4, length)
        tokens = f"{axis}_target_tokens" if axis == "decoder" else f"{axis}_input_tokens"
        rows = []
        for place in range(shown):
            piece = survey.vocabulary.piece(int(survey.arrays[tokens][0, place]))
            padding = survey.arrays[f"{axis}_segment_ids"][0, place] == 0
            values = (f"{survey.arrays[name][0, place]:g}" for name in names)
            rows.append((place, "padding" if padding else piece.replace("\n", "↵"), *values))
        headers = ("", "piece", *(name.removeprefix(f"{axis}_") for name in names))
        grid = table(headers, rows, numeric=(0, *range(2, len(headers))))
        blocks.append(details(f"{axis}, {real} of {length} positions", grid))
    return section("The first packed row, position by position", *blocks)


_STYLE = """
.card h3 + .note { margin-bottom: 10px; }
.card details { margin: 0 0 8px; background: transparent; }
.sides { display: grid; grid-template-columns: minmax(0, 3fr) minmax(0, 2fr); gap: 18px; }
.sides h3, .tokens h3 { color: var(--muted); font-weight: 500; margin: 0 0 4px; }
@media (max-width: 720px) { .sides { grid-template-columns: minmax(0, 1fr); } }
.tokens p { line-height: 2; margin: 0 0 14px; overflow-wrap: anywhere; }
.token { font: 12.5px/1.5 ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace;
  background: var(--grid); border-radius: 4px; padding: 2px 4px; margin: 0 2px 0 0;
  white-space: pre-wrap; }
.token.loss { background: var(--good-wash); color: var(--good); }
.token.cut { background: var(--bad-wash); color: var(--bad); text-decoration: line-through; }
.legend { margin: 14px 0 10px; }
.histogram { position: relative; display: flex; align-items: flex-end; gap: 2px; height: 130px;
  margin: 12px 0 0; border-bottom: 1px solid var(--line); }
.bar { flex: 1; background: var(--series-1); border-radius: 3px 3px 0 0; min-height: 0; }
.bar.over { background: var(--series-5); }
.limit { position: absolute; top: 0; bottom: 0; border-left: 2px dashed var(--bad); }
.ends { display: flex; justify-content: space-between; color: var(--muted); font-size: 13px;
  margin: 2px 0 12px; }
.packed { display: grid; grid-template-columns: 54px minmax(0, 1fr) 130px; gap: 3px 12px;
  align-items: center; margin: 0 0 10px; }
.packed .label { color: var(--muted); font-size: 12.5px; font-variant-numeric: tabular-nums; }
.lane { display: flex; height: 14px; background: var(--grid); border-radius: 4px;
  overflow: hidden; }
.block { border-right: 1px solid var(--raised); }
.s1 { background: var(--series-1); } .s2 { background: var(--series-2); }
.s3 { background: var(--series-3); } .s4 { background: var(--series-4); }
.s5 { background: var(--series-5); } .s6 { background: var(--series-6); }
details .scroll { max-height: 480px; overflow-y: auto; }
"""
