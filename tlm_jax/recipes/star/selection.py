"""Choice of what a loop trains on: right rationales, written as if there had been no hint."""

from __future__ import annotations

import collections
import dataclasses
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from tlm_jax.data.records import Record, read_json_lines, write_records
from tlm_jax.data.run_data import RunData
from tlm_jax.data.teacher_imports.examples import CUT_OFF
from tlm_jax.errors import UserError
from tlm_jax.evaluation.curation import Candidate, Curation, curate, equations
from tlm_jax.recipes.star.forms import Form
from tlm_jax.runs.training import files

HINT_IN_TEXT = "shows the hint"
EXAMPLES, WRONG, LEFT_OUT = "examples.jsonl", "wrong.jsonl", "left_out.jsonl"


@dataclasses.dataclass(frozen=True)
class Pass:
    """The samples of a loop's one pass over its questions.

    Attributes:
      path: `samples.jsonl`.
      hinted: whether the answer was shown.
      model: fingerprint of the model that wrote them.
      loop: its number.
    """

    path: Path
    hinted: bool
    model: str
    loop: int


def failed_questions(path: Path, records: Mapping[str, Record]) -> list[Record]:
    """Returns the questions none of whose samples is right, in their order.

    Args:
      path: `samples.jsonl` of the pass without hints.
      records: all questions of the loop, by id.
    """
    right = {row["id"] for _, row in read_json_lines(path) if row.get("correct")}
    return [record for name, record in records.items() if name not in right]


def select(
    folder: Path,
    passes: Sequence[Pass],
    records: Mapping[str, Record],
    form: Form,
    data: RunData,
    *,
    curation: Curation,
    few_shot: bool,
) -> dict[str, Any]:
    """Writes what is trained on, what is not and why, and the wrong ones.

    - `examples.jsonl`: records with `inputs`, `targets` and where they come from;
    - `wrong.jsonl`: rationales of the pass without hints that found another answer;
    - `left_out.jsonl`: every other sample with its reason.

    Args:
      folder: where to.
      passes: without hints, and with them, if there was one.
      records: all questions of the loop, by id.
      form: how they were asked.
      data: where the form's files are.
      curation: what is kept of the right ones.
      few_shot: whether demonstrations stand before the texts.

    Returns:
      The counts of the loop.

    Raises:
      UserError: nothing is kept, or a text that would be trained on shows its hint.
    """
    rows = list(_rows(passes))
    reasons = curate([_candidate(row, records) for row in rows], curation)
    for place, row in enumerate(rows):
        if reasons[place] is None and form.holds_hint(row["text"], records[row["id"]]):
            reasons[place] = HINT_IN_TEXT
    kept = [row for row, reason in zip(rows, reasons) if reason is None]
    if not kept:
        raise UserError(_nothing_kept(rows, reasons))
    examples = [_example(row, records[row["id"]], form, data, few_shot) for row in kept]
    leaks = [e.id for e in examples if _shows_hint(e, form)]
    if leaks:
        raise UserError(
            f"{len(leaks):,} texts that would be trained on show the right answer as a hint, the "
            f"first is {leaks[0]!r}: nothing is written. The form {type(form).__name__} has to ask "
            "without a hint what it asks with one"
        )
    wrong = [row for row in rows if not row["hinted"] and _is_wrong(row)]
    others = [{**row, "left_out": reason} for row, reason in zip(rows, reasons) if reason]
    if jax.process_index() == 0:
        write_records(folder / EXAMPLES, examples)
    _write_rows(folder / WRONG, wrong)
    _write_rows(folder / LEFT_OUT, others)
    return {**_figures(rows, reasons, records), "hint_leaks": len(leaks)}


def _nothing_kept(rows: Sequence[Mapping[str, Any]], reasons: Sequence[str | None]) -> str:
    counts = collections.Counter(filter(None, reasons)).most_common()
    by_reason = ", ".join(f"{count:,} {reason}" for reason, count in counts)
    remedy = (
        "the model has to get some questions right before it can teach itself: start from another "
        "one, ask easier questions, or draw more samples with NUM_SAMPLES and TEMPERATURE"
    )
    if all(row.get("extracted") is None for row in rows):
        remedy = "no answer was found in any: look at the samples, and at RULE, STOP and MAX_TOKENS"
    return (
        f"none of {len(rows):,} rationales is kept ({by_reason}), so nothing is trained: {remedy}"
    )


def _rows(passes: Sequence[Pass]) -> Iterator[dict[str, Any]]:
    for one in passes:
        for _, row in read_json_lines(one.path, any_text=True):
            yield {**row, "loop": one.loop, "hinted": one.hinted, "model": one.model}


def _candidate(row: Mapping[str, Any], records: Mapping[str, Record]) -> Candidate:
    record = records[row["id"]]
    return Candidate(
        question=record.question,
        text=row["text"],
        correct=row.get("correct"),
        answered=row.get("extracted") is not None,
        finished=row["finish_reason"] not in CUT_OFF,
        options=record.options,
    )


def _example(
    row: Mapping[str, Any], record: Record, form: Form, data: RunData, few_shot: bool
) -> Record:
    """Returns the record that is trained on: the question without a hint, and the rationale."""
    inputs = form.prompt(record, data) if few_shot else form.query(record)
    bare = dataclasses.replace(record, id=f"{record.id}/{row['sample']}", rationale=None)
    return bare.with_generated(
        inputs=inputs,
        targets=row["text"].rstrip(),
        **{name: row[name] for name in ("loop", "hinted", "model", "prompt", "seed", "rule")},
    )


def _shows_hint(example: Record, form: Form) -> bool:
    return form.holds_hint(f"{example.get('inputs')}{example.get('targets')}", example)


def _is_wrong(row: Mapping[str, Any]) -> bool:
    return row.get("correct") is False and row.get("extracted") is not None


def _write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    files.write_text(path, "".join(json.dumps(row) + "\n" for row in rows))


def _figures(
    rows: Sequence[Mapping[str, Any]],
    reasons: Sequence[str | None],
    records: Mapping[str, Record],
) -> dict[str, Any]:
    """Returns the counts of a loop; those of the pass with hints begin with `hinted_`."""
    kept = [row for row, reason in zip(rows, reasons) if reason is None]
    figures: dict[str, Any] = {"questions": len(records)}
    for hinted, prefix in ((False, ""), (True, "hinted_")):
        some = [row for row in rows if row["hinted"] == hinted]
        figures |= {
            f"{prefix}attempts": len(some),
            f"{prefix}right": sum(row.get("correct") is True for row in some),
            f"{prefix}unparsable": sum(row.get("extracted") is None for row in some),
            f"{prefix}kept": sum(row["hinted"] == hinted for row in kept),
        }
    by_question = itertools.groupby(
        sorted(kept, key=lambda row: row["id"]), key=lambda row: row["id"]
    )
    paths = [{equations(row["text"]) or row["text"] for row in group} for _, group in by_question]
    return {
        **figures,
        "examples": len(kept),
        "kept_questions": len(paths),
        "distinct_paths": sum(map(len, paths)),
        "left_out": dict(collections.Counter(filter(None, reasons)).most_common()),
    }
