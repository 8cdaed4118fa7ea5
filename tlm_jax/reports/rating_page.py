"""The page and the lines on ratings: by source, agreement, and models beside people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from tlm_jax.reports.chart import interval_bar
from tlm_jax.reports.templating import render_page
from tlm_jax.system.terminal import printable

Figures = Mapping[str, Any]

_NOT_KNOWN = "–"


def render(figures: Figures) -> str:
    """Returns the page; names of sources and raters are shown as text.

    Args:
      figures: of `rating.summary.summarize`.
    """
    return render_page(
        "ratings.html",
        title=f"Ratings of {Path(figures['file']).name}",
        subtitle=f"{figures['items']:,} items of {_count(len(figures['sources']), 'source')}; "
        "intervals of 95 % over items",
        styles=("chart.css",),
        scripts=(),
        raters=[
            (r["rater"], r["kind"], f"{r['complete']:,} of {figures['items']:,}", f"{r['begun']:,}")
            for r in figures["raters"]
        ],
        unknown=figures["unknown"],
        groups=[_group(group, figures) for group in figures["groups"]],
        judges=[_judge(found) for found in figures["judges"]],
        pairs=[_pair(found) for found in figures["pairs"]],
    )


def lines(figures: Figures) -> Iterator[str]:
    """Yields the lines for a terminal."""
    if not figures["groups"]:
        yield "nobody has rated anything yet"
    for rater in figures["raters"]:
        name, begun = printable(rater["rater"]), rater["begun"]
        begun = f", {begun:,} begun" if begun else ""
        yield f"{name} ({rater['kind']})  {rater['complete']:,} of {figures['items']:,}{begun}"
    for group in figures["groups"]:
        for field, found in group["fields"].items():
            yield f"{field}, {printable(group['group'])}{_agreement(found)}"
            width = max(len(printable(source["source"])) for source in found["sources"])
            for source in found["sources"]:
                counts = ", ".join(f"{n:,} {value}" for value, n in source["counts"].items() if n)
                name = printable(source["source"])
                yield f"  {name:{width}}  {_mean(source)}  {counts}"
    for found in figures["judges"]:
        model, field, items, difference, _, alpha = _judge(found)
        against = f"{printable(model)} against people, {field}"
        yield f"{against}: {difference}, alpha {alpha}, {items} items"
    if figures["unknown"]:
        yield f"note: {_unknown(figures['unknown'])}"


def _unknown(number: int) -> str:
    return f"{_count(number, 'rating')} of texts that the file no longer holds are not counted"


def _group(group: Figures, figures: Figures) -> dict[str, object]:
    raters = _count(group["raters"], "rater")
    is_model = group["kind"] == "model"
    return {
        "title": f"{group['group']}, a model" if is_model else "People",
        "note": "Apart from people's ratings."
        if is_model
        else f"{raters}, none of whom saw a source.",
        "headers": ["source", "mean", "", "items", *figures["values"]],
        "numeric": [1, *range(3, 4 + len(figures["values"]))],
        "fields": [
            {
                "title": f"{field}{_agreement(found)}",
                "rows": [_row(source, figures["values"]) for source in found["sources"]],
            }
            for field, found in group["fields"].items()
        ],
    }


def _row(source: Figures, values: Sequence[Any]) -> list[object]:
    """Returns the cells of a source; of words, shares are what is read."""
    cells = []
    for value in values:
        number, share = source["counts"][str(value)], source["shares"].get(str(value))
        told = f" ({_share(share)})" if isinstance(value, str) and share is not None else ""
        cells.append(f"{number:,}{told}")
    return [source["source"], _mean(source), _bar(source, len(values)), source["items"], *cells]


def _share(share: Figures) -> str:
    return f"{share['share']:.0%}, {100 * share['low']:.0f}–{100 * share['high']:.0f}"


def _mean(found: Figures) -> str:
    if found["mean"] is None:
        return _NOT_KNOWN
    mean = f"{found['mean']:.2f}"
    return mean if found["low"] is None else f"{mean} ({found['low']:.2f}–{found['high']:.2f})"


def _bar(found: Figures, values: int) -> Markup | str:
    if found["mean"] is None:
        return ""
    ends = [found["mean"] if found[end] is None else found[end] for end in ("mean", "low", "high")]
    mean, low, high = ((end - 1) / (values - 1) for end in ends)
    return interval_bar(mean, low, high, label=f"{_mean(found)} of 1 to {values}")


def _agreement(found: Figures) -> str:
    if "alpha" not in found:
        return ""
    items = _count(found["items_of_several"], "item")
    if found["alpha"] is None:
        return f": no agreement to be told from {items} with two ratings"
    interval = ""
    if found["alpha_low"] is not None:
        interval = f" ({found['alpha_low']:.2f}–{found['alpha_high']:.2f})"
    return f": Krippendorff's alpha {found['alpha']:.2f}{interval} on {items} of several raters"


def _judge(found: Figures) -> tuple[str, str, str, str, str, str]:
    difference = f"{found['difference']:+.2f}"
    if found["low"] is not None:
        difference += f" ({found['low']:+.2f} to {found['high']:+.2f})"
    return (
        found["model"], found["field"], f"{found['items']:,}", difference,
        f"{found['same']:.0%}", _alpha(found),
    )  # fmt: skip


def _pair(found: Figures) -> tuple[str, str, str, str, str, str]:
    one, other = (f"{n} ({kind})" for n, kind in zip(found["raters"], found["kinds"]))
    return (
        one, other, found["field"], f"{found['items']:,}", f"{found['same']:.0%}", _alpha(found)
    )  # fmt: skip


def _alpha(found: Figures) -> str:
    return _NOT_KNOWN if found["alpha"] is None else f"{found['alpha']:.2f}"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
