"""Draws a survey of a task as one self-contained HTML page; all text is escaped."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tlm_jax.data.shown_examples import ShownExample, Token
from tlm_jax.data.survey import LengthSummary, PackedRow, Survey
from tlm_jax.reports.templating import render_page

_ROWS_DRAWN = 24
_BINS = 32


def document(survey: Survey, *, packing: bool = True) -> str:
    """Returns the page."""
    sample = len(next(iter(survey.lengths.values())).lengths)
    return render_page(
        "task.html",
        title=survey.name,
        subtitle=f"{survey.description} · split {survey.split} · {survey.vocabulary!r}",
        styles=("task.css",),
        scripts=(),
        facts=_headline(survey, sample),
        mixture=_mixture(survey) if len(survey.rates) > 1 else (),
        examples=[_example(number, example) for number, example in enumerate(survey.examples, 1)],
        lengths=[_lengths(name, summary, survey) for name, summary in survey.lengths.items()],
        lengths_note=f"Tokens of each feature over {sample:,} examples, end tokens included.",
        packing=_packing(survey, sample) if packing else None,
    )


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


def _mixture(survey: Survey) -> list[tuple[object, ...]]:
    return [
        (name, f"{rate:.2%}", "endless" if survey.sizes[name] is None else survey.sizes[name])
        for name, rate in survey.rates.items()
    ]


def _example(number: int, example: ShownExample) -> dict[str, object]:
    return {
        "title": f"Example {number} · {example.example_id}",
        "task": example.task,
        "texts": [
            (form, [(n, t) for n, t in (("inputs", inputs), ("targets", targets)) if t is not None])
            for form, inputs, targets in example.texts
        ],
        "carried": list(example.carried.items()),
        "sequences": [
            {
                "title": f"{axis} · {sum(not token.cut for token in sequence)} tokens",
                "tokens": [_token(place, token) for place, token in enumerate(sequence)],
            }
            for axis, sequence in example.sequences.items()
        ],
    }


def _token(place: int, token: Token) -> dict[str, object]:
    weight = "" if token.weight is None else f", weight {token.weight:g}"
    return {
        "classes": "token cut" if token.cut else ("token loss" if token.weight else "token"),
        "title": f"position {place}, id {token.token_id}{weight}",
        "text": token.piece.replace("\n", "↵"),
        # A line break among the pieces breaks the line here too, so that shapes of text show.
        "breaks": token.piece in ("\n", "↵", "<0A>"),
    }


def _lengths(name: str, summary: LengthSummary, survey: Survey) -> dict[str, object]:
    counts, edges = summary.histogram(_BINS)
    top = max(int(counts.max()), 1)
    limit = 100 * summary.limit / edges[-1]
    given = "" if survey.lengths_given else " (the longest of the sample)"
    return {
        "name": name,
        "bars": [
            {
                "over": low >= summary.limit,
                "height": f"{100 * count / top:.1f}",
                "title": f"{low:.0f} to {high:.0f} tokens: {count} examples",
            }
            for count, low, high in zip(counts, edges, edges[1:])
        ],
        "limit": f"{limit:.2f}" if limit <= 100 else None,
        "end": f"{edges[-1]:.0f} tokens",
        "facts": (
            f"{summary.lengths.mean():.1f}",
            f"{np.median(summary.lengths):.0f}",
            f"{np.percentile(summary.lengths, 95):.0f}",
            int(summary.lengths.max()),
            f"{summary.limit}{given}",
            f"{summary.truncated} ({summary.truncated / len(summary.lengths):.1%})",
            f"{summary.lost_tokens:.2%}",
        ),
    }


def _packing(survey: Survey, sample: int) -> dict[str, object]:
    rows = survey.rows[:_ROWS_DRAWN]
    return {
        "note": f"{sample:,} examples share {len(survey.rows):,} rows. Each block is an example; "
        f"attention never crosses blocks. The first {len(rows)} rows:",
        "fill": [
            (axis, length, f"{survey.unpacked_fill[axis]:.1%}", f"{survey.packed_fill[axis]:.1%}")
            for axis, length in survey.axes.items()
        ],
        "rows": [_row(number, row, survey.axes) for number, row in enumerate(rows, start=1)],
        "positions": [_positions(survey, axis, length) for axis, length in survey.axes.items()],
    }


def _row(number: int, row: PackedRow, axes: Mapping[str, int]) -> list[dict[str, object]]:
    return [
        {
            "label": f"row {number}" if column == 0 else "",
            "used": f"{axis} {row.lengths[:, column].sum()}/{length}",
            "blocks": [
                {
                    "colour": place % 6 + 1,
                    "width": f"{100 * int(tokens) / length:.3f}",
                    "title": f"{example_id}: {tokens} {axis} tokens",
                }
                for place, (example_id, tokens) in enumerate(
                    zip(row.example_ids, row.lengths[:, column])
                )
            ],
        }
        for column, (axis, length) in enumerate(axes.items())
    ]


def _positions(survey: Survey, axis: str, length: int) -> dict[str, object]:
    """Returns the model features of the first packed row, position by position."""
    names = [name for name in survey.arrays if name.startswith(axis)]
    real = int((survey.arrays[f"{axis}_segment_ids"][0] > 0).sum())
    tokens = f"{axis}_target_tokens" if axis == "decoder" else f"{axis}_input_tokens"
    rows = []
    for place in range(min(real + 4, length)):
        piece = survey.vocabulary.piece(int(survey.arrays[tokens][0, place]))
        padding = survey.arrays[f"{axis}_segment_ids"][0, place] == 0
        values = (f"{survey.arrays[name][0, place]:g}" for name in names)
        rows.append((place, "padding" if padding else piece.replace("\n", "↵"), *values))
    headers = ("", "piece", *(name.removeprefix(f"{axis}_") for name in names))
    return {
        "title": f"{axis}, {real} of {length} positions",
        "headers": headers,
        "rows": rows,
        "numeric": (0, *range(2, len(headers))),
    }
