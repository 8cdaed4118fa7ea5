"""The page of TeacherLM: formats of students against the first one, by type of question."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from tlm_jax.metrics.progress import duration
from tlm_jax.reports.chart import Series, line_chart
from tlm_jax.reports.templating import render_page

Results = Mapping[str, Any]
_COUNTS = ("generated", "empty", "run_on", "went_on", "marker_in_question", "not_round_trip")


def render(results: Results) -> str:
    """Returns the page of what results.json holds."""
    cost, asked = results["cost"], results["questions"]
    state = "complete" if results["complete"] else "under way"
    first = next(iter(results["formats"]), "none")
    return render_page(
        "teacher_lm.html",
        title="TeacherLM",
        subtitle=f"{state}; {len(results['runs'])} students; intervals are of 95 %",
        styles=("chart.css", "run.css"),
        scripts=("chart.js",),
        facts=[_fact(row) for row in results["table"] if row["type"] == "all"][:8],
        table_note="The checkpoint that the development set chose, ranked by letters on "
        f"{asked['test']:,} test questions a seed. Difference: from {first}, question by question "
        "over the same seeds; the interval is a bootstrap over questions, p McNemar's exact test.",
        headers=[
            *("size", "format", "questions", "seeds", "right", "accuracy", "difference", ""),
            *("fixed", "broken", "p"),
        ],
        rows=[_row(row) for row in results["table"]],
        numeric=range(3, 11),
        curves=_curves(results),
        curves_note="Every checkpoint, on the test set; the chosen one is ticked.",
        runs_headers=[
            *("student", "sequences", "tokens", "cut", "step", "development", "test", "majority"),
        ],
        runs=[_run(run) for run in results["runs"]],
        runs_numeric=range(1, 8),
        enhancement_note=f"{asked['train']:,} questions; nothing is left out for being wrong.",
        enhancement_headers=["field", *(n.replace("_", " ") for n in _COUNTS), "tokens each"],
        enhancement=[
            _field(name, n) for name, n in results["enhancement"].get("fields", {}).items()
        ],
        enhancement_numeric=range(1, 8),
        teacher=[_taught(name, n) for name, n in results["teacher"].items()],
        cost=[(kind, duration(spent)) for kind, spent in cost["seconds"].items()],
        overhead=f"{cost['samples']:,} samples, {cost['tokens']:,} generated tokens, "
        f"{cost['steps']:,} training steps. Of the last start "
        f"{cost['this_start']['overhead_share']:.1%} of the time was neither generation, training "
        "nor evaluation.",
    )


def _fact(row: Results) -> tuple[str, object, str]:
    change = row["change"]
    told = f"{change['difference']:+.1%}" if change else "compared with"
    return f"{row['size']}, {row['form']}", _share(row["accuracy"]), told


def _row(row: Results) -> list[object]:
    change = row["change"]
    told: list[object] = [""] * 5
    if change and change["difference"] is not None:
        told = [
            f"{change['difference']:+.1%}",
            f"{change['difference_low']:+.1%} to {change['difference_high']:+.1%}",
            change["fixed"],
            change["broken"],
            f"{change['p_value']:.3g}",
        ]
    return [
        row["size"],
        row["form"],
        row["type"],
        len(row["seeds"]),
        f"{row['right']:,} of {row['asked']:,}",
        _interval(row),
        *told,
    ]


def _run(run: Results) -> list[object]:
    chosen, votes = run["steps"][run["chosen"]], run["votes"]
    return [
        _name(run),
        f"{run['sequences']:,}",
        f"{run['text_tokens']:,}",
        f"{run['cut']:,}",
        chosen["step"],
        _share(chosen["dev"]["accuracy"]),
        _interval(chosen["test"]),
        _interval(votes) if votes else "",
    ]


def _curves(results: Results) -> list[Markup]:
    charts = []
    for size in dict.fromkeys(run["size"] for run in results["runs"]):
        runs = [run for run in results["runs"] if run["size"] == size]
        series = [
            Series(
                f"{run['form']}, seed {run['seed']}",
                [(one["step"], one["test"]["accuracy"]) for one in run["steps"]],
                dots=True,
                colour=colour % 6,
            )
            for colour, run in enumerate(runs)
        ]
        marked: Sequence[int] = [run["steps"][run["chosen"]]["step"] for run in runs]
        charts.append(
            line_chart(size, series, percent=True, marked_steps=list(dict.fromkeys(marked)))
        )
    return charts


def _field(name: str, found: Results) -> list[object]:
    each = found["tokens_each"]
    counts = [f"{found[count]:,}" for count in _COUNTS]
    return [name, *counts, "" if each is None else f"{each:.1f}"]


def _taught(name: str, found: Results) -> list[object]:
    steps = ", ".join(f"{step}: {value:.1%}" for step, value in found["accuracy"].items())
    return [name, found["chosen"], steps]


def _name(run: Results) -> str:
    return f"{run['size']}, {run['form']}, seed {run['seed']}"


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"


def _interval(found: Results) -> str:
    if found["accuracy"] is None:
        return ""
    low, high = found["accuracy_low"], found["accuracy_high"]
    return f"{found['accuracy']:.1%} ({low:.1%} to {high:.1%})"
