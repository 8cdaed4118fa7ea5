"""Wrong paths out of solutions of several models: numbered, wrong by the rule, each once."""

from __future__ import annotations

import collections
import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast, get_args

import jax

from tlm_jax.data.records import Kind, Record, from_dict, read_json_lines, write_records
from tlm_jax.data.teacher_imports.examples import CUT_OFF as CUT_OFF_REASONS
from tlm_jax.errors import UserError
from tlm_jax.evaluation.grading import extract, grade
from tlm_jax.recipes.lema.forms import Form
from tlm_jax.recipes.lema.paths import Steps
from tlm_jax.runs.training import files
from tlm_jax.system.home import expanded

WRONG, RIGHT_FILE, LEFT_OUT = "wrong.jsonl", "right.jsonl", "left_out.jsonl"

RIGHT = "right"
RIGHT_AFTER_ALL = "right by the rule, though its file says wrong"
NO_ANSWER = "no answer"
CUT_OFF = "cut off"
FEW_STEPS = "fewer than two steps"
SAME = "the same path"
SURPLUS = "more than per question and model"
IN_DEV = "in the development set"
UNREADABLE_GOLD = "no gold answer that the rule reads"


@dataclasses.dataclass(frozen=True)
class Solution:
    """What a model wrote about a question.

    Attributes:
      record: the question.
      model: who.
      text: its solution; None where it is steps already.
      steps: these.
      finished: whether it ended by itself.
      labelled_wrong: whether its file says that it is wrong; None where nothing is said.
    """

    record: Record
    model: str
    text: str | None
    steps: Steps | None = None
    finished: bool = True
    labelled_wrong: bool | None = None


class KnownQuestions:
    """The questions of the data set, by which those of files are known again."""

    def __init__(self, records: Sequence[Record]):
        """Takes the records, with their own solutions."""
        self._by_words = {record.question_words(): record for record in records}

    def known(self, record: Record) -> Record:
        """Returns the data set's own record of a question, else the given one."""
        return self._by_words.get(record.question_words(), record)


def collect(
    folder: Path,
    solutions: Iterator[Solution],
    form: Form,
    *,
    rule: str | None,
    dev: Sequence[Record],
    most: int | None,
    total: int | None = None,
) -> dict[str, Any]:
    """Writes `wrong.jsonl`, `right.jsonl` and `left_out.jsonl`; returns the counts.

    A path is a record with `question_id`, `model`, `path` (its steps) and `wrong_prediction`.

    Args:
      folder: where to.
      solutions: of any models.
      form: how they are written.
      rule: by which they are graded; None: by the kind of answer.
      dev: questions that stay out.
      most: wrong paths of a question and model; None: all.
      total: wrong paths in all, spread over all that there are; None: all.

    Raises:
      UserError: there is no wrong path.
    """
    in_dev = {record.question_words() for record in dev}
    wrong: list[Record] = []
    right: list[Record] = []
    left_out: list[dict[str, Any]] = []
    seen: set[tuple[Any, ...]] = set()
    numbers: collections.Counter[tuple[str, str]] = collections.Counter()
    num_wrong: collections.Counter[tuple[str, str]] = collections.Counter()
    by_model: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    for one in solutions:
        reason, steps, prediction = _looked_at(one, form, rule)
        key = (one.record.question_words(), steps)
        if one.record.question_words() in in_dev:
            reason = IN_DEV
        elif reason in (None, RIGHT) and key in seen:
            reason = SAME
        seen.add(key)
        where = (one.record.id, one.model)
        if reason is None and most is not None and num_wrong[where] >= most:
            reason = SURPLUS
        by_model[one.model]["wrong" if reason is None else reason] += 1
        if reason not in (None, RIGHT):
            left_out.append(_dropped_row(one, reason))
            continue
        assert steps is not None
        numbers[where] += 1
        num_wrong[where] += reason is None
        path = dataclasses.replace(
            one.record,
            id=f"{one.record.id}/{one.model}/{numbers[where] - 1}",
            generated={},
        ).with_generated(
            question_id=one.record.id,
            model=one.model,
            path=list(steps),
            wrong_prediction=prediction,
        )
        (wrong if reason is None else right).append(path)
    if not wrong:
        raise UserError(_nothing_wrong(by_model))
    found = len(wrong)
    if total is not None and total < found:
        wrong = [wrong[n * found // total] for n in range(total)]
    if jax.process_index() == 0:
        write_records(folder / WRONG, wrong)
        write_records(folder / RIGHT_FILE, right)
    files.write_text(
        folder / LEFT_OUT, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in left_out)
    )
    totals = sum(by_model.values(), collections.Counter[str]())
    return {
        "solutions": sum(totals.values()),
        "wrong": len(wrong),
        "wrong_found": found,
        "wrong_questions": len({record.get("question_id") for record in wrong}),
        "right": len(right),
        "left_out": {n: c for n, c in totals.most_common() if n not in ("wrong", RIGHT)},
        "by_model": {name: dict(counts.most_common()) for name, counts in by_model.items()},
    }


def sampled(path: Path, model: str, records: Mapping[str, Record]) -> Iterator[Solution]:
    """Yields a model's samples, whose questions are known by id."""
    for _, row in read_json_lines(path, any_text=True):
        finished = row["finish_reason"] not in CUT_OFF_REASONS
        yield Solution(records[row["id"]], model, row["text"], finished=finished)


def in_files(paths: Sequence[Path], questions: KnownQuestions) -> Iterator[Solution]:
    """Yields the solutions of files.

    Raises:
      UserError: there is no such file, or a row is of no form that is known.
    """
    for path in paths:
        for number, row in read_json_lines(path):
            yield from _of_row(row, f"{path}:{number}", path, questions)


def wrong_files(names: Sequence[str], data_dir: Path | None = None) -> list[Path]:
    """Returns files, of DATA_DIR too; of a directory those below it called `wrong.jsonl`.

    Raises:
      UserError: there is none.
    """
    found: list[Path] = []
    for name in names:
        path = expanded(name)
        if data_dir is not None and not path.exists() and (data_dir / name).exists():
            path = data_dir / name
        if not path.is_dir():
            found.append(path)
            continue
        below = sorted(p for p in path.rglob(WRONG) if "replaced" not in p.parts)
        if not below:
            raise UserError(f"{path}: no file below it is called {WRONG}, where paths are expected")
        found += below
    return found


def _of_row(
    row: Mapping[str, Any], where: str, path: Path, questions: KnownQuestions
) -> Iterator[Solution]:
    several = (row.get("meta") or {}).get("solutions")
    if isinstance(several, list):
        record = questions.known(from_dict(row, where))
        for one in several:
            correct = one.get("is_correct")
            wrong = None if correct is None else not correct
            yield Solution(record, str(one["model"]), str(one["solution"]), labelled_wrong=wrong)
        return
    model = str(row.get("model") or path.stem)
    if isinstance(row.get("path"), list) and "kind" in row:
        record = questions.known(from_dict({**row, "id": row.get("question_id", row["id"])}, where))
        yield Solution(record, model, None, tuple(map(str, row["path"])), labelled_wrong=True)
        return
    if isinstance(row.get("text"), str) and row.get("question") and row.get("gold"):
        correct = row.get("correct")
        yield Solution(
            questions.known(_question_of(row, where)),
            model,
            row["text"],
            finished=row.get("finish_reason") not in CUT_OFF_REASONS,
            labelled_wrong=None if correct is None else not correct,
        )
        return
    raise UserError(
        f"{where}: expected solutions in `meta.solutions`, a `path` with its question, or a sample "
        "of `infer` with `text`, `question` and `gold`"
    )


def _question_of(row: Mapping[str, Any], where: str) -> Record:
    """Returns the question of a sample, as far as it says."""
    options, rule = row.get("options"), row.get("rule")
    kind = rule if rule in get_args(Kind) else "choice" if options else "numeric"
    try:
        return Record(
            id=str(row.get("id", where)),
            dataset="",
            split="",
            kind=cast(Kind, kind),
            question=str(row["question"]),
            options=None if options is None else tuple(map(str, options)),
            answer=str(row["gold"]),
        )
    except UserError as error:
        raise UserError(f"{where}: {error}") from None


def _looked_at(
    one: Solution, form: Form, rule: str | None
) -> tuple[str | None, Steps | None, str | None]:
    """Returns why a solution is no wrong path, its steps, and the answer that it found."""
    record, name = one.record, rule or one.record.kind
    steps = one.steps
    if steps is None:
        assert one.text is not None
        steps = form.path(one.text, extract(name, one.text, record.options))
    if steps is None:
        return (NO_ANSWER if one.finished else CUT_OFF), None, None
    if not record.answer:
        return UNREADABLE_GOLD, steps, None
    graded = grade(name, steps[-1], record.answer, record.options)
    if graded.correct:
        return (RIGHT_AFTER_ALL if one.labelled_wrong else RIGHT), steps, graded.extracted
    if graded.extracted is None:
        return NO_ANSWER, steps, None
    if not one.finished:
        return CUT_OFF, steps, graded.extracted
    if len(steps) < 2:
        return FEW_STEPS, steps, graded.extracted
    return None, steps, graded.extracted


def _dropped_row(one: Solution, reason: str) -> dict[str, Any]:
    return {
        "id": one.record.id,
        "model": one.model,
        "question": one.record.question,
        "text": one.text,
        "path": one.steps,
        "reason": reason,
    }


def _nothing_wrong(by_model: Mapping[str, Mapping[str, int]]) -> str:
    why = "; ".join(
        f"{name}: " + ", ".join(f"{n:,} {reason}" for reason, n in counts.items())
        for name, counts in by_model.items()
    )
    return (
        f"no solution is a wrong path ({why or 'there are no solutions'}), so there is nothing to "
        "correct: ask harder questions, a weaker model, or more samples with NUM_PATHS and "
        "TEMPERATURE"
    )
