"""The page of LEMA: arms side by side, and what was corrected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from tlm_jax.data.records import read_json_lines
from tlm_jax.metrics.progress import duration
from tlm_jax.reports.chart import Series, line_chart
from tlm_jax.reports.templating import render_page

Results = Mapping[str, Any]

_SHOWN = 6
"""Corrections to read."""


def render(results: Results, directory: Path) -> str:
    """Returns the page.

    Args:
      results: what results.json holds.
      directory: of the recipe, where the corrections lie.
    """
    cost = results["cost"]
    state = "complete" if results["complete"] else "under way"
    columns = _columns(results)
    return render_page(
        "lema.html",
        title=f"LEMA on {results['task']}",
        subtitle=f"{state}; {results['mark']}",
        styles=("chart.css", "run.css"),
        scripts=("chart.js",),
        facts=[_fact(row, columns) for row in results["table"][:8]],
        table_note=f"Means over seeds, with their standard deviation; {results['mark']}. Arms have "
        "the same start and the same steps; rows and target tokens say what they are trained on.",
        headers=[
            *("arm", "seeds", "rows", "target tokens", "corrections"),
            *map(_column, columns),
            "ΔPPL, nats",
        ],
        rows=[*_start(results, columns), *(_row(row, columns) for row in results["table"])],
        numeric=range(1, 6 + len(columns)),
        charts=[*_development(results), *_shares(results, columns)],
        mistakes=[_mistakes(name, one) for name, one in results["mistakes"].items()],
        corrections=_corrections(results, directory),
        cost=[(kind, duration(spent)) for kind, spent in cost["seconds"].items()],
    )


def percent(found: Results) -> str:
    """Returns a mean over seeds with its standard deviation."""
    if found["mean"] is None:
        return ""
    spread = "" if found["spread"] is None else f" ± {100 * found['spread']:.1f}"
    return f"{100 * found['mean']:.1f}{spread} %"


def _columns(results: Results) -> list[tuple[str, str]]:
    if not results["table"]:
        return []
    accuracy = results["table"][0]["accuracy"]
    return [(task, mode) for task, found in accuracy.items() for mode in found]


def _column(column: tuple[str, str]) -> str:
    task, mode = column
    return f"{task}, {'maj@k' if mode == 'self_consistency' else mode}"


def _name(row: Results) -> str:
    return row["arm"] if row["round"] == 1 else f"{row['arm']}, round {row['round']}"


def _fact(row: Results, columns: Sequence[tuple[str, str]]) -> tuple[str, object, str]:
    task, mode = columns[0]
    return _name(row), percent(row["accuracy"][task][mode]), f"{task}, {len(row['seeds'])} seeds"


def _start(results: Results, columns: Sequence[tuple[str, str]]) -> list[list[object]]:
    """Returns the row of the model from which all arms start."""
    if not results["start"]:
        return []
    found = results["start"]["evaluation"]
    cells = [f"{100 * found[task][mode]['accuracy']:.1f} %" for task, mode in columns]
    perplexity = results["start"]["perplexity"]
    delta = "" if perplexity is None else f"{perplexity['delta_nats']:.3f}"
    return [["start", "", "", "", "", *cells, delta]]


def _row(row: Results, columns: Sequence[tuple[str, str]]) -> list[object]:
    counts = [f"{row[name]:,.0f}" for name in ("rows", "target_tokens", "corrections")]
    cells = [percent(row["accuracy"][task][mode]) for task, mode in columns]
    delta = "" if row["delta_nats"] is None else f"{row['delta_nats']['mean']:.3f}"
    return [_name(row), len(row["seeds"]), *counts, *cells, delta]


def _development(results: Results) -> list[Markup]:
    """Returns the accuracy by which checkpoints were chosen, over steps."""
    series = []
    for colour, run in enumerate(results["runs"]):
        points = [(int(step), one.get("accuracy")) for step, one in run["development"].items()]
        if points:
            name = f"{_name(run)}, seed {run['seed']}"
            series.append(Series(name, sorted(points), dots=True, colour=colour))
    return [line_chart("Chosen by", series, percent=True)] if series else []


def _shares(results: Results, columns: Sequence[tuple[str, str]]) -> list[Markup]:
    """Returns the accuracy of arms with several shares of the corrections, over their number."""
    lines: dict[str, list[tuple[float, float]]] = {}
    for row in results["table"]:
        task, mode = columns[0]
        mean = row["accuracy"][task][mode]["mean"]
        if row["round"] == 1 and mean is not None:
            lines.setdefault(row["arm"].split("@")[0], []).append((row["corrections"], mean))
    series = [
        Series(name, sorted(points), dots=True, colour=n)
        for n, (name, points) in enumerate(lines.items())
        if len(points) > 1
    ]
    return [line_chart("By corrections", series, over="rows", percent=True)] if series else []


def _mistakes(name: str, one: Results) -> dict[str, object]:
    paths, kept = one["paths"], one["corrections"]
    shares = [f"{n.replace('_', ' ')} {v:.0%}" for n, v in kept["quality"].items() if v is not None]
    reasons = {**paths["left_out"], **kept["left_out"]}
    return {
        "title": f"Mistakes and corrections: {name}",
        "note": f"{paths['solutions']:,} solutions, {paths['wrong']:,} wrong paths of "
        f"{paths['wrong_questions']:,} questions; {kept['kept']:,} corrections kept. Of these: "
        f"{', '.join(shares) or 'nothing is known'}. To be rated: {one['files']['rate']}.",
        "rows": [[reason, f"{count:,}"] for reason, count in reasons.items()],
        "models": [
            [model, f"{counts['paths']:,}", f"{counts['kept']:,}"]
            for model, counts in kept["by_model"].items()
        ],
    }


def _corrections(results: Results, directory: Path) -> list[dict[str, object]]:
    """Returns some corrections, kept ones first."""
    found: list[dict[str, object]] = []
    for one in results["mistakes"].values():
        rows = [
            row
            for _, row in read_json_lines(directory / one["files"]["corrections"], any_text=True)
        ]
        kept = [row for row in rows if row["kept"]][:_SHOWN]
        others = [row for row in rows if not row["kept"] and row["text"]][:_SHOWN]
        found += [_card(row) for row in (*kept, *others)]
    return found


def _card(row: Results) -> dict[str, object]:
    path = "\n".join(f"Step {n}: {step}" for n, step in enumerate(row["path"], 1))
    return {
        "title": row["question"],
        "state": "kept" if row["kept"] else row["reason"],
        "path": path,
        "answer": str(row["text"]).strip("\n"),
    }
