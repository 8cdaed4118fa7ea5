"""Corrections out of a corrector's answers: read, filtered by the final answer, looked at."""

from __future__ import annotations

import collections
import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from tlm_jax.data.records import Record, read_json_lines, to_dict, write_records
from tlm_jax.data.teacher_imports.examples import CUT_OFF as CUT_OFF_REASONS
from tlm_jax.errors import UserError
from tlm_jax.evaluation.grading import grade
from tlm_jax.recipes.lema import quality
from tlm_jax.recipes.lema.corrections import CUT_OFF, NO_ANSWER, WRONG_ANSWER, Correction
from tlm_jax.recipes.lema.forms import Form
from tlm_jax.runs.training import files

CORRECTIONS, KEPT, RATE = "corrections.jsonl", "kept.jsonl", "rate.jsonl"

MORE = "another try was kept"
NOT_TRIED = "no answer of the corrector"


def choose(
    folder: Path,
    samples: Path,
    paths: Sequence[Record],
    form: Form,
    *,
    rule: str | None,
    num_rated: int,
    seed: int,
) -> dict[str, Any]:
    """Writes all corrections with their reasons, those that are kept, and the sheet to be rated.

    The first try of a path that reaches the right answer is kept, as in the paper; nothing else
    is asked of it. `corrections.jsonl` has `id`, `path`, `incorrect_step`, `explanation`,
    `correct_solution`, `prediction`, `kept` and `reason`; `kept.jsonl` are records of the paths
    with these and the figures of `quality`.

    Returns:
      The counts: `paths`, `tries`, `kept`, by reason `left_out`, by model `by_model`; of the kept
      ones shares of the automatic figures, `quality`.

    Raises:
      UserError: none is kept.
    """
    by_id = {record.id: record for record in paths}
    rows: list[dict[str, Any]] = []
    kept: dict[str, Record] = {}
    for _, sample in read_json_lines(samples, any_text=True):
        record = by_id[sample["id"]]
        found = form.read(sample["text"], record.get("path"))
        reason, prediction = _reason(found, record, rule, sample["finish_reason"])
        if reason is None and record.id in kept:
            reason = MORE
        row = _row(record, sample, found, prediction, reason)
        rows.append(row)
        if reason is None:
            assert isinstance(found, Correction)
            fields = {n: row[n] for n in ("incorrect_step", "explanation", "correct_solution")}
            looks = quality.figures(record, record.get("path"), found)
            kept[record.id] = record.with_generated(**fields, prediction=prediction, quality=looks)
    tried = {row["id"] for row in rows}
    untried = [record for record in paths if record.id not in tried]
    rows += [_row(record, {"text": ""}, NOT_TRIED, None, NOT_TRIED) for record in untried]
    _write(folder / CORRECTIONS, rows)
    counts = collections.Counter(row["reason"] for row in rows if row["reason"])
    if not kept:
        why = ", ".join(f"{n:,} {reason}" for reason, n in counts.most_common())
        raise UserError(
            f"none of {len(rows):,} corrections of {len(paths):,} wrong paths is kept ({why}), so "
            f"nothing can be learned from mistakes: look at {folder / CORRECTIONS}, and take a "
            "better corrector or more tries with CORRECTOR_TRIES"
        )
    if jax.process_index() == 0:
        write_records(folder / KEPT, kept.values())
    sheets = [{**to_dict(record), **record.get("quality")} for record in kept.values()]
    _write(folder / RATE, quality.sheet(sheets, num_rated, seed))
    models = collections.Counter(record.get("model") for record in paths)
    kept_of = collections.Counter(record.get("model") for record in kept.values())
    return {
        "paths": len(paths),
        "tries": len(rows) - len(untried),
        "kept": len(kept),
        "kept_questions": len({record.get("question_id") for record in kept.values()}),
        "left_out": dict(counts.most_common()),
        "by_model": {name: {"paths": n, "kept": kept_of[name]} for name, n in models.items()},
        "quality": quality.shares(record.get("quality") for record in kept.values()),
    }


def correction_of(record: Record) -> Correction:
    """Returns the correction in a record of `kept.jsonl`."""
    return Correction(
        record.generated.get("incorrect_step"),
        record.get("explanation"),
        tuple(record.get("correct_solution")),
    )


def _reason(
    found: Correction | str, record: Record, rule: str | None, finish_reason: str
) -> tuple[str | None, str | None]:
    """Returns why a correction is not kept, and the answer that it comes to."""
    if isinstance(found, str):
        cut = finish_reason in CUT_OFF_REASONS
        return (CUT_OFF if cut else found), None
    graded = grade(rule or record.kind, found.steps[-1], record.answer, record.options)
    if graded.correct:
        return None, graded.extracted
    return (NO_ANSWER if graded.extracted is None else WRONG_ANSWER), graded.extracted


def _row(
    record: Record,
    sample: Mapping[str, Any],
    found: Correction | str,
    prediction: str | None,
    reason: str | None,
) -> dict[str, Any]:
    read = dataclasses.asdict(found) if isinstance(found, Correction) else {}
    return {
        "id": record.id,
        "sample": sample.get("sample"),
        "question": record.question,
        "path": list(record.get("path")),
        "incorrect_step": read.get("step"),
        "explanation": read.get("explanation"),
        "correct_solution": list(read["steps"]) if read else None,
        "prediction": prediction,
        "kept": reason is None,
        "reason": reason,
        "text": sample["text"],
    }


def _write(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    files.write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
