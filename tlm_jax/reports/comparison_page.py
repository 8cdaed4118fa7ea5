"""Shows runs side by side: a table and bars on the terminal, and one self-contained page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tlm_jax.evaluation.statistics import Comparison
from tlm_jax.reports.chart import Series, interval_bar, line_chart
from tlm_jax.reports.comparison import RunResult, TaskComparison
from tlm_jax.reports.templating import render_page, write_page
from tlm_jax.system.terminal import printable

_BAR_WIDTH = 40


def write_comparison(tasks: Sequence[TaskComparison], path: Path) -> Path:
    """Writes the page and returns its path.

    Raises:
      UserError: it cannot be written.
    """
    names = " and ".join(result.name for result in tasks[0].results)
    page = render_page(
        "comparison.html",
        title="Runs side by side",
        subtitle=f"{names}. Shares with 95 % Wilson intervals; differences by a paired bootstrap "
        "over the same questions, p by McNemar's exact test.",
        styles=("chart.css",),
        scripts=("chart.js",),
        tasks=[_task(task) for task in tasks],
    )
    write_page(path, page, make_folder=True)
    return path


def lines(task: TaskComparison) -> list[str]:
    """Returns a task's results for the terminal, a bar of 40 places for 100 % each."""
    width = max(len(result.name) for result in task.results)
    found = [f"{task.task}, held out"]
    for result in task.results:
        found.append(f"  {result.name:{width}}  {_bar(result)}  {_figures(result)}")
    for number, other in enumerate(task.results[1:], start=1):
        compared = task.against(0, number)
        if compared is not None:
            found.append(f"  {other.name} against {task.results[0].name}: {_difference(compared)}")
    if len(task.results) > 2:
        compared = task.against(len(task.results) - 2, len(task.results) - 1)
        if compared is not None:
            before, last = task.results[-2:]
            found.append(f"  {last.name} against {before.name}: {_difference(compared)}")
    return found


def solved_lines(task: TaskComparison, most: int) -> list[str]:
    """Returns questions that the last run solves and the first does not, with both answers."""
    width = max(len(task.results[0].name), len(task.results[-1].name))
    found: list[str] = []
    for first, last in task.newly_right(most):
        found += ["", printable(str(last.get("prompt", "")), keep="\n")]
        for result, prediction in ((task.results[0], first), (task.results[-1], last)):
            verdict = "right" if prediction["correct"] else "wrong"
            written = str(prediction.get("prediction", "")).splitlines()
            text = " / ".join(printable(line) for line in written)
            found.append(f"  {result.name:{width}}  {verdict}  {text}")
    return found


def _task(task: TaskComparison) -> dict[str, object]:
    rows = [
        (
            result.name,
            _percent(result),
            _interval(result),
            None
            if result.accuracy is None
            else interval_bar(result.accuracy.share, *result.accuracy.interval, colour=number),
            "-" if result.final_nll_nats is None else f"{result.final_nll_nats:.4f}",
        )
        for number, result in enumerate(task.results)
    ]
    charts = [
        line_chart(
            "Accuracy",
            [
                Series(
                    result.name,
                    [(a.step, a.share) for a in result.accuracies],
                    band=[(a.step, *a.interval) for a in result.accuracies],
                    dots=True,
                    colour=number,
                )
                for number, result in enumerate(task.results)
            ],
            percent=True,
        ),
        line_chart(
            "Held-out negative log-likelihood",
            [
                Series(result.name, result.nll_nats, dots=True, colour=number)
                for number, result in enumerate(task.results)
            ],
            unit="nats a target token",
        ),
    ]
    return {"name": task.task, "rows": rows, "charts": charts}


def _bar(result: RunResult) -> str:
    share = result.accuracy.share if result.accuracy else 0.0
    filled = round(_BAR_WIDTH * float(share))
    return "█" * filled + "·" * (_BAR_WIDTH - filled)


def _figures(result: RunResult) -> str:
    nll = result.final_nll_nats
    likelihood = "" if nll is None else f"  NLL {nll:.4f} nats"
    return f"{_percent(result):>6} ({_interval(result)}){likelihood}"


def _percent(result: RunResult) -> str:
    return "-" if result.accuracy is None else f"{result.accuracy.share:.1%}"


def _interval(result: RunResult) -> str:
    if result.accuracy is None:
        return "-"
    low, high = result.accuracy.interval
    return f"{low:.1%} to {high:.1%}"


def _difference(compared: Comparison) -> str:
    low, high = compared.interval
    return (
        f"{100 * compared.difference:+.1f} points ({100 * low:+.1f} to {100 * high:+.1f}) on "
        f"{compared.questions:,} questions, p {compared.p_value:.2g}"
    )
