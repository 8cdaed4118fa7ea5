"""Writes `report.html`, one self-contained page on a run, from the files in its MODEL_DIR."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Any

from markupsafe import Markup

from tlm_jax.errors import UserError
from tlm_jax.reports.chart import Number, Point, Series, interval_bar, line_chart
from tlm_jax.reports.marks import marked_answer
from tlm_jax.reports.run_record import RunRecord, TaskRecord, read_run
from tlm_jax.reports.templating import render_page, write_page

FILE_NAME = "report.html"
_SAMPLES = 3
_OPEN_TASKS = 3


def write_report(model_dir: Path | str, path: Path | str | None = None) -> Path:
    """Writes the report of a finished, stopped or running run.

    Args:
      model_dir: holds some of `config.gin`, `model-info.txt`, `metrics.jsonl` and
        `eval/TASK/step_N.jsonl`.
      path: of the page; `MODEL_DIR/report.html` by default.

    Returns:
      The path of the page.

    Raises:
      UserError: `model_dir` does not exist or holds none of these, or the page cannot be written.
    """
    model_dir = Path(model_dir)
    if not model_dir.is_dir():
        raise UserError(f"MODEL_DIR {model_dir} does not exist")
    run = read_run(model_dir)
    if not (run.train or run.tasks or run.configuration):
        raise UserError(
            f"{model_dir} holds nothing to report (expected config.gin, metrics.jsonl or eval/): "
            "is it the MODEL_DIR of a run?"
        )
    path = model_dir / FILE_NAME if path is None else Path(path)
    write_page(path, render(run))
    return path


def render(run: RunRecord) -> str:
    """Returns the page as HTML; whatever a model wrote is shown as text."""
    files = (("config.gin", run.configuration), ("model-info.txt", run.model_info))
    return render_page(
        "run.html",
        title=run.name,
        subtitle="Training report. Steps are optimizer steps; point at a curve for its values.",
        styles=("chart.css", "run.css"),
        scripts=("chart.js",),
        facts=_headline(run),
        charts=_curves(run),
        skipped_note=_skipped_note(run),
        evaluations=[_evaluation_row(task) for task in run.tasks],
        tasks=[
            _samples(task, expanded=place < _OPEN_TASKS)
            for place, task in enumerate(run.tasks)
            if task.predictions
        ],
        files=[(name, text) for name, text in files if text],
    )


def _headline(run: RunRecord) -> list[tuple[str, object, str]]:
    facts: list[tuple[str, object, str]] = []
    loss = _finite(run.train.get("loss", ()))
    if loss:
        step, value = loss[-1]
        facts.append(("steps", f"{step:,.0f}", ""))
        facts.append(("training loss", f"{value:.4f}", f"{loss[0][1]:.4f} at step {loss[0][0]:,}"))
    for task in run.tasks[:2]:
        if task.accuracies:
            last = task.accuracies[-1]
            low, high = last.interval
            facts.append((task.name, f"{last.share:.1%}", f"{low:.1%} to {high:.1%}"))
    speeds = _finite(run.train.get("tokens_per_second", ()))
    if speeds:
        middle = sorted(v for _, v in speeds)[len(speeds) // 2]
        use = _finite(run.train.get("model_flops_utilisation", ()))
        used = (
            f"median; {sorted(v for _, v in use)[len(use) // 2]:.1%} of peak" if use else "median"
        )
        facts.append(("tokens a second", f"{middle:,.0f}", used))
    return facts


def _curves(run: RunRecord) -> list[Markup]:
    train = run.train
    evaluated = [
        Series(task.name, task.metrics["nll_nats"], dots=True, colour=i)
        for i, task in enumerate(run.tasks, start=1)
        if "nll_nats" in task.metrics
    ]
    exact = [
        Series(
            task.name,
            [(a.step, a.share) for a in task.accuracies],
            band=[(a.step, *a.interval) for a in task.accuracies],
            dots=True,
            colour=i,
        )
        for i, task in enumerate(run.tasks, start=1)
        if task.accuracies
    ]
    charts = [
        line_chart(
            "Loss",
            [Series("training", train.get("loss", ())), *evaluated],
            unit="nats a target token",
            marked_steps=run.skipped_steps,
        ),
    ]
    if exact:
        unit = "held-out tasks, 95% intervals"
        charts.append(line_chart("Exact answers", exact, unit=unit, percent=True))
    charts += [
        draw(
            [
                Series(label, train[name], smooth=name != "learning_rate", colour=i)
                for i, (name, label) in enumerate(names)
            ]
        )
        for names, draw in (
            ([(n, label) for n, label in names.items() if n in train], draw)
            for names, draw in _TRAINING_CHARTS
        )
        if names
    ]
    return charts


def _skipped_note(run: RunRecord) -> str | None:
    if not run.skipped_steps:
        return None
    shown = ", ".join(f"{step:,}" for step in run.skipped_steps[:10])
    more = ", ..." if len(run.skipped_steps) > 10 else ""
    return f"Loss or gradient was not finite at step {shown}{more} (red on the axis of the loss)."


_TRAINING_CHARTS: tuple[tuple[Mapping[str, str], Callable[..., Markup]], ...] = (
    (
        {"accuracy": "next-token accuracy"},
        partial(line_chart, "Next-token accuracy", unit="training", percent=True),
    ),
    (
        {"tokens_per_second": "throughput"},
        partial(line_chart, "Throughput", unit="real tokens a second", from_zero=True),
    ),
    (
        {"gradient_norm": "gradient norm"},
        partial(line_chart, "Gradient norm", unit="before clipping", logarithmic=True),
    ),
    ({"learning_rate": "learning rate"}, partial(line_chart, "Learning rate", from_zero=True)),
    ({"parameter_norm": "parameter norm"}, partial(line_chart, "Parameter norm")),
    (
        {
            "model_flops_utilisation": "model FLOPs, of the peak",
            "data_wait_share": "waiting for data, of the time",
        },
        partial(line_chart, "Use of the hardware", percent=True),
    ),
)


def _evaluation_row(task: TaskRecord) -> list[object]:
    nll, unparsable = (_last(task.metrics.get(n, ())) for n in ("nll_nats", "unparsable_share"))
    end = [
        f"{unparsable:.1%}" if unparsable is not None else "–",
        f"{nll:.4f}" if nll is not None else "–",
    ]
    if not task.accuracies:
        step = f"{task.step:,}" if task.step is not None else "–"
        return [task.name, step, "–", "–", "–", "", "–", *end]
    last = task.accuracies[-1]
    low, high = last.interval
    best = max(task.accuracies, key=lambda a: a.share)
    return [
        task.name,
        f"{last.step:,}",
        f"{last.correct:,} of {last.graded:,}" if last.graded is not None else "–",
        Markup("<b>{}</b>").format(f"{last.share:.1%}"),
        f"{low:.1%} to {high:.1%}",
        interval_bar(last.share, low, high),
        f"{best.share:.1%} at {best.step:,}",
        *end,
    ]


def _samples(task: TaskRecord, *, expanded: bool) -> dict[str, object]:
    right = [p for p in task.predictions if p.get("correct") is True]
    wrong = [p for p in task.predictions if p.get("correct") is False]
    ungraded = [p for p in task.predictions if not isinstance(p.get("correct"), bool)]
    # In two columns the right ones stand on the left.
    pairs = zip_longest(spread(right, _SAMPLES), spread(wrong, _SAMPLES))
    chosen = [p for pair in pairs for p in pair if p is not None] or spread(ungraded, _SAMPLES)
    counts = ", ".join(
        f"{len(group):,} {name}"
        for group, name in ((right, "right"), (wrong, "wrong"), (ungraded, "not graded"))
        if group
    )
    return {
        "name": task.name,
        "note": f"From the evaluation at step {task.step:,}: {counts}; evenly spaced picks. "
        "The extracted answer is marked.",
        "expanded": expanded,
        "samples": [sample_card(prediction) for prediction in chosen],
    }


def sample_card(prediction: Mapping[str, Any]) -> dict[str, object]:
    """Returns what a card shows of a prediction, one of `eval/TASK/step_N.jsonl`."""
    correct = prediction.get("correct")
    verdict, kind = "not graded", "none"
    if isinstance(correct, bool):
        verdict, kind = ("✓ right", "good") if correct else ("✗ wrong", "bad")
    extracted = prediction.get("extracted")
    text = str(prediction.get("prediction", ""))
    return {
        "verdict": verdict,
        "kind": kind,
        "extracted": extracted,
        "gold": None if correct is True else prediction.get("gold"),
        "cut": prediction.get("finished") is False,
        "id": prediction.get("id", ""),
        "prompt": str(prediction.get("prompt", "")),
        "text": marked_answer(text, None if extracted is None else str(extracted)),
    }


def spread(rows: Sequence[Mapping[str, Any]], count: int) -> list[Mapping[str, Any]]:
    """Returns up to `count` rows, evenly spaced."""
    if len(rows) <= count:
        return list(rows)
    return [rows[i * len(rows) // count] for i in range(count)]


def _finite(points: Sequence[Point]) -> list[tuple[Number, Number]]:
    return [(x, y) for x, y in points if y is not None]


def _last(points: Sequence[Point]) -> Number | None:
    return points[-1][1] if points else None
