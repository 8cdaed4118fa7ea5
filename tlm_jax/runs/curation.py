"""Curation of a file of solutions: what is kept, what is left out and why, and the counts."""

from __future__ import annotations

import collections
import dataclasses
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tlm_jax.data.records import read_json_lines
from tlm_jax.data.run_data import RunData
from tlm_jax.data.teacher_imports.examples import CUT_OFF
from tlm_jax.errors import UserError, system_reason
from tlm_jax.evaluation.curation import Candidate, Curation, curate
from tlm_jax.evaluation.grading import compare
from tlm_jax.evaluation.question_sets import named_questions
from tlm_jax.evaluation.rules.registry import rule_by_name


@dataclasses.dataclass(frozen=True)
class SolutionFields:
    """Where the objects of a file hold what curation needs; None: as `tlm infer` writes it.

    Attributes:
      text: the solution.
      gold: the right answer.
      question: what is asked, without its options.
      options: of a choice.
    """

    text: str | None = None
    gold: str | None = None
    question: str | None = None
    options: str | None = None


@dataclasses.dataclass(frozen=True)
class CurationResult:
    """What came of it.

    Attributes:
      kept: how many solutions.
      kept_questions: of how many questions.
      questions: how many questions there were.
      left_out: how many, by reason, the most frequent first.
    """

    kept: int
    kept_questions: int
    questions: int
    left_out: Mapping[str, int]

    @property
    def total(self) -> int:
        return self.kept + sum(self.left_out.values())


def curate_file(
    source: Path,
    kept_path: Path,
    left_out_path: Path,
    settings: Curation,
    *,
    fields: SolutionFields | None = None,
    rule: str | None = None,
    test_sets: Sequence[str] = (),
    data: RunData | None = None,
) -> CurationResult:
    """Reads solutions, and writes those that are kept, and the others each with its reason.

    Lines are written as they were read, in their order; of those left out the field `left_out` is
    the reason. Both files appear whole or not at all. Only what decides is held in memory.

    Args:
      source: JSON Lines, such as `samples.jsonl` of `tlm infer`, or records.
      kept_path: of the solutions that are kept.
      left_out_path: of the others.
      settings: what is kept.
      fields: where the objects hold what is needed.
      rule: grades anew; None takes the file's own field `correct`.
      test_sets: "TASK", "TASK:SPLIT" or files of records, none of whose questions is kept. A task
        alone means its split `test`.
      data: where the run's data are.

    Raises:
      UserError: a file cannot be read or written, or a line lacks what is needed.
    """
    fields = fields or SolutionFields()
    candidates = [_candidate(row, fields, rule, place) for place, row in _rows(source)]
    if not candidates:
        raise UserError(f"{source}: holds no solutions.")
    data = data or RunData()
    known = {name: named_questions(name, data, split="test") for name in test_sets}
    reasons = curate(candidates, settings, known)
    _write(source, kept_path, left_out_path, reasons)
    kept = [one for one, reason in zip(candidates, reasons) if reason is None]
    return CurationResult(
        kept=len(kept),
        kept_questions=len({one.question_key for one in kept}),
        questions=len({one.question_key for one in candidates}),
        left_out=dict(collections.Counter(filter(None, reasons)).most_common()),
    )


def _rows(source: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, row in read_json_lines(source, any_text=True):
        yield f"{source}:{number}", row


def _candidate(
    row: Mapping[str, Any], fields: SolutionFields, rule: str | None, place: str
) -> Candidate:
    text = _text(row, fields.text, ("text", "rationale"), "--text", place)
    question = _text(row, fields.question, ("question", "prompt"), "--question", place)
    options = row.get(fields.options or "options")
    if options is not None and not (
        isinstance(options, list) and all(isinstance(option, str) for option in options)
    ):
        raise UserError(f"{place}: the options must be a list of texts, got {options!r}.")
    correct, answered = row.get("correct"), row.get("extracted", "") is not None
    if rule is not None:
        gold = _text(row, fields.gold, ("gold", "answer"), "--gold", place)
        correct, answered = _grade(rule, text, gold, options)
    elif not isinstance(correct, bool | None):
        raise UserError(f"{place}: the field 'correct' must be true or false, got {correct!r}.")
    return Candidate(
        question=question,
        text=text,
        correct=correct,
        answered=answered,
        finished=row.get("finish_reason") not in CUT_OFF,
        options=options,
    )


def _text(
    row: Mapping[str, Any], name: str | None, names: Sequence[str], flag: str, place: str
) -> str:
    looked = names if name is None else (name,)
    for one in looked:
        value = row.get(one)
        if isinstance(value, str):
            return value
        if isinstance(value, int | float) and not isinstance(value, bool):
            return f"{value:g}" if isinstance(value, float) else str(value)
    raise UserError(
        f"{place}: no text in the field {' or '.join(map(repr, looked))}; {flag}=FIELD names "
        f"another. It has: {', '.join(map(str, row))}."
    )


def _grade(
    name: str, text: str, gold: str, options: Sequence[str] | None
) -> tuple[bool | None, bool]:
    rule = rule_by_name(name)
    right, found = rule.read_gold(gold, options), rule.extract(text, options)
    if right is None:
        return None, found is not None
    return found is not None and compare(rule, found, right).correct, found is not None


def _write(
    source: Path, kept_path: Path, left_out_path: Path, reasons: Sequence[str | None]
) -> None:
    targets = (kept_path, left_out_path)
    if len({path.resolve() for path in (source, *targets)}) < 3:
        raise UserError(f"{source}, {kept_path} and {left_out_path} must be three files.")
    unfinished = [path.with_name(f".{path.name}.{os.getpid()}") for path in targets]
    try:
        for path in targets:
            path.parent.mkdir(parents=True, exist_ok=True)
        with (
            unfinished[0].open("w", encoding="utf-8") as kept,
            unfinished[1].open("w", encoding="utf-8") as left_out,
        ):
            for (_, row), reason in zip(_rows(source), reasons, strict=True):
                if reason is None:
                    kept.write(_as_line(row))
                else:
                    left_out.write(_as_line({**row, "left_out": reason}))
        for path, target in zip(unfinished, targets):
            path.replace(target)
    except OSError as error:
        raise UserError(f"{kept_path}: cannot be written ({system_reason(error)}).") from error
    finally:
        for path in unfinished:
            path.unlink(missing_ok=True)


def _as_line(row: Mapping[str, Any]) -> str:
    line = json.dumps(row, ensure_ascii=False)
    if any("\ud800" <= letter <= "\udfff" for letter in line):
        line = json.dumps(row)  # halves of surrogate pairs as escapes
    return line + "\n"


def print_counts(result: CurationResult, console: Console) -> None:
    """Prints what was kept and, by reason, what was not."""
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    table.add_column("solutions", justify="right")
    table.add_column("share", justify="right")
    for name, count in (("kept", result.kept), *result.left_out.items()):
        table.add_row(name, f"{count:,}", f"{count / result.total:.1%}")
    table.add_row("in all", f"{result.total:,}", "")
    console.print(table)
    console.print(f"of {result.kept_questions:,} of {result.questions:,} questions")
