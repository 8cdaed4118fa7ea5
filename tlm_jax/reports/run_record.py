"""Reads what a run left in its MODEL_DIR for the report; whatever is missing or cut is left out."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tlm_jax.evaluation.intervals import wilson
from tlm_jax.metrics.writers import FILE_NAME, read_metrics
from tlm_jax.reports.chart import Number, Point


@dataclasses.dataclass(frozen=True)
class Accuracy:
    """How often a task's questions were answered rightly at one step.

    Attributes:
      step: training steps taken.
      share: correct / graded.
      interval: 95 % Wilson interval of the share.
      correct: how many; None where only the share was recorded.
      graded: of how many; None likewise.
    """

    step: int
    share: Number
    interval: tuple[Number, Number]
    correct: int | None = None
    graded: int | None = None


@dataclasses.dataclass(frozen=True)
class TaskRecord:
    """All evaluations of one task.

    Attributes:
      name: of the task.
      accuracies: by step, oldest first; empty for a task without right answers.
      metrics: by name, what the evaluations measured, as points over steps.
      step: of the newest predictions, or None.
      predictions: the newest ones, as dicts; fields may be missing.
    """

    name: str
    accuracies: Sequence[Accuracy]
    metrics: Mapping[str, Sequence[Point]]
    step: int | None
    predictions: Sequence[Mapping[str, Any]]


@dataclasses.dataclass(frozen=True)
class RunRecord:
    """A run, as far as its files tell.

    Attributes:
      name: the directory's.
      train: by name, the training metrics as points over steps.
      skipped_steps: steps whose loss or gradient was not finite.
      tasks: by name.
      configuration: the text of `config.gin`, or None.
      model_info: the text of `model-info.txt`, or None.
    """

    name: str
    train: Mapping[str, Sequence[Point]]
    skipped_steps: Sequence[int]
    tasks: Sequence[TaskRecord]
    configuration: str | None
    model_info: str | None


def read_run(model_dir: Path) -> RunRecord:
    """Reads `model_dir`; see the attributes of `RunRecord` for what may be absent."""
    splits: dict[str, dict[str, list[Point]]] = {}
    for row in read_metrics(model_dir / FILE_NAME):
        points = splits.setdefault(str(row.get("split", "train")), {})
        for name, value in row.items():
            if name not in ("step", "split") and (value is None or _is_number(value)):
                points.setdefault(name, []).append((row["step"], value))
    evaluated = {split.removeprefix("eval/") for split in splits if split.startswith("eval/")}
    folder = model_dir / "eval"
    files: dict[str, dict[int, Path]] = {name: {} for name in sorted(evaluated)}
    for path in sorted(folder.rglob("step_*.jsonl")):
        if step := re.fullmatch(r"step_(\d+)", path.stem):
            name = path.parent.relative_to(folder).as_posix()
            files.setdefault(name, {})[int(step[1])] = path
    return RunRecord(
        name=model_dir.resolve().name,
        train=splits.get("train", {}),
        skipped_steps=[int(s) for s, _ in splits.get("non_finite", {}).get("loss", [])],
        tasks=[
            _task(name, splits.get(f"eval/{name}", {}), by_step)
            for name, by_step in sorted(files.items())
        ],
        configuration=_text(model_dir / "config.gin"),
        model_info=_text(model_dir / "model-info.txt"),
    )


def _task(
    name: str, metrics: Mapping[str, Sequence[Point]], files: Mapping[int, Path]
) -> TaskRecord:
    newest = max(files, default=None)
    predictions = _predictions(files[newest]) if newest is not None else []
    accuracies = {a.step: a for a in _recorded_accuracies(metrics)}
    for step, path in files.items():
        # The newest file is read anyway; older ones only where metrics.jsonl says nothing.
        if step == newest or step not in accuracies:
            counted = _counted_accuracy(step, predictions if step == newest else _predictions(path))
            if counted is not None:
                accuracies[step] = counted
    return TaskRecord(
        name=name,
        accuracies=[accuracies[step] for step in sorted(accuracies)],
        metrics=metrics,
        step=newest,
        predictions=predictions,
    )


def _recorded_accuracies(metrics: Mapping[str, Sequence[Point]]) -> list[Accuracy]:
    low, high = dict(metrics.get("accuracy_low", ())), dict(metrics.get("accuracy_high", ()))
    return [
        Accuracy(int(step), share, (_or(low.get(step), share), _or(high.get(step), share)))
        for step, share in metrics.get("accuracy", ())
        if share is not None
    ]


def _counted_accuracy(step: int, predictions: Sequence[Mapping[str, Any]]) -> Accuracy | None:
    graded = [p for p in predictions if isinstance(p.get("correct"), bool)]
    if not graded:
        return None
    correct = sum(p["correct"] for p in graded)
    interval = wilson(correct, len(graded))
    return Accuracy(step, correct / len(graded), interval, correct, len(graded))


def _predictions(path: Path) -> list[dict[str, Any]]:
    rows = []
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            try:
                row = json.loads(line)
            except json.JSONDecodeError:
                continue  # The run may still be writing, or have been stopped while it was.
            if isinstance(row, dict):
                rows.append(row)
    return rows


def _text(path: Path) -> str | None:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _or(value: Number | None, default: Number) -> Number:
    return default if value is None else value
