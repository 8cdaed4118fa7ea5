"""Choice of the solutions to learn from, and the cache of what the teacher said of them."""

from __future__ import annotations

import collections
import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tlm_jax.data.records import Record, write_records
from tlm_jax.data.teacher_imports import codex
from tlm_jax.data.teacher_imports.captured import Captured, Unusable
from tlm_jax.data.teacher_imports.examples import ExampleFile, targets_of
from tlm_jax.errors import UserError
from tlm_jax.evaluation.curation import NO_ANSWER, WRONG, Candidate, Curation, curate
from tlm_jax.evaluation.grading import grade
from tlm_jax.evaluation.rules.registry import RULES
from tlm_jax.recipes.done import write_json
from tlm_jax.runs.cache_teacher.import_config import ImportConfig
from tlm_jax.runs.cache_teacher.importing import example_of, key_of, read_solutions, run_import
from tlm_jax.runs.training import files
from tlm_jax.teacher_cache import TeacherCache
from tlm_jax.teacher_cache.steps import solution_key

EXAMPLES, LEFT_OUT = "examples.jsonl", "left_out.jsonl"
CACHE, CACHED = "cache", "cached.json"
"""The cache, and a file that says what is in it."""

FRAME = "without the tokens around it"
"""Of a right Codex sample: the published structural check, which counts it as wrong."""
KNOWN = "in the development set"
UNUSABLE = "not to be cached"

OFFICIAL_RULE = "official_last_number"


@dataclasses.dataclass(frozen=True)
class _Graded:
    """A solution with its grade, without what the teacher said of it.

    Attributes:
      captured: the solution.
      extracted: the answer found in it.
      correct: None where there is nothing to compare it with.
      framed: whether the tokens around it are those of the published format.
    """

    captured: Captured
    extracted: bool
    correct: bool | None
    framed: bool

    def candidate(self) -> Candidate:
        one = self.captured
        return Candidate(
            one.question, one.text, self.correct, self.extracted, one.finished, one.options
        )


def select(
    folder: Path,
    source: ImportConfig,
    asked: Iterable[Record],
    dev: Iterable[Record],
    curation: Curation,
    rule: str | None,
) -> dict[str, Any]:
    """Writes the solutions that are kept as records, the others with their reasons, and the cache.

    A solution is left out for the first of these: it asks a question of the development set; it is
    wrong; of the official files, its tokens are not framed as there; what `curate` finds; its
    tokens cannot be cached.

    Args:
      folder: where to.
      source: where they come from; its directory and choice are set here.
      asked: the questions of the teacher; none for captured files, which have their own.
      dev: the development set.
      curation: what is kept.
      rule: grades anew; None: the source's own grade, else by the kind of answer.

    Returns:
      The counts: `samples`, `right`, `framed` (of these, with the tokens around them), `kept`, by
      reason `left_out`, `questions`, `kept_questions` and `questions_without` a right solution.

    Raises:
      UserError: nothing is kept, or a file is not what it should be.
    """
    graded = [_graded(one, source, rule) for one in read_solutions(source)]
    reasons = _reasons(graded, curation, source, {record.question_words() for record in dev})
    kept = frozenset(one.captured.id for one, reason in zip(graded, reasons) if reason is None)
    if not kept:
        raise UserError(_nothing_kept(graded, reasons))
    cache = folder / CACHE
    config = dataclasses.replace(source, output_dir=cache, only=kept)
    run_import(config)
    cached = {key_of_record(record) for record in ExampleFile(cache)}
    records = []
    for place, one in enumerate(graded):
        if reasons[place] is None and key_of(one.captured) not in cached:
            reasons[place] = UNUSABLE
        if reasons[place] is None:
            records.append(example_of(one.captured, config))
    write_records(folder / EXAMPLES, records)
    _write_left_out(folder / LEFT_OUT, graded, reasons)
    shards = sorted(shard.entry.sha256 for shard in TeacherCache.open([str(cache)]).shards)
    write_json(folder / CACHED, {"rows": len(cached), "shards": shards})
    return _figures(graded, reasons, asked)


def key_of_record(record: Record) -> str:
    """Returns the key of the row of a solution's record."""
    return solution_key(record.question, record.options, targets_of(record))


def _graded(captured: Captured, source: ImportConfig, rule: str | None) -> _Graded:
    framed = True
    if source.source.startswith("codex") and captured.steps is not None:
        try:
            codex.content_steps(captured.steps)  # pyright: ignore[reportArgumentType]
        except Unusable:
            framed = False
    bare = dataclasses.replace(captured, steps=None)
    named = rule
    if named is None:
        by_kind = captured.kind if captured.kind in RULES else "numeric"
        named = OFFICIAL_RULE if source.source.startswith("codex") else str(by_kind)
    if not captured.answer:
        return _Graded(bare, True, captured.correct, framed)
    found = grade(named, captured.text, captured.answer, captured.options)
    own = rule is None and captured.correct is not None
    correct = captured.correct if own else found.correct
    return _Graded(bare, found.extracted is not None, correct, framed)


def _reasons(
    graded: Sequence[_Graded],
    curation: Curation,
    source: ImportConfig,
    known: set[tuple[str, ...]],
) -> list[str | None]:
    reasons: list[str | None] = [None] * len(graded)
    of_dev: dict[str, bool] = {}
    for place, one in enumerate(graded):
        captured = one.captured
        name = captured.question + "\0".join(captured.options or ())
        if name not in of_dev:
            of_dev[name] = _question_words(captured, source) in known
        if of_dev[name]:
            reasons[place] = KNOWN
        elif one.correct and not one.framed:
            reasons[place] = FRAME
        elif captured.problem:
            reasons[place] = captured.problem
    # Of equal ones the first that can be kept at all is kept.
    left = [place for place, reason in enumerate(reasons) if reason is None]
    found = curate([graded[place].candidate() for place in left], curation)
    for place, reason in zip(left, found):
        reasons[place] = reason
    return reasons


def _question_words(captured: Captured, source: ImportConfig) -> tuple[str, ...]:
    record = Record("", "", "", "text", captured.question, captured.options, "")
    return record.question_words()


def _nothing_kept(graded: Sequence[_Graded], reasons: Sequence[str | None]) -> str:
    counts = collections.Counter(filter(None, reasons)).most_common()
    told = ", ".join(f"{count:,} {reason}" for reason, count in counts) or "there are none"
    remedy = (
        "ask a better teacher, ask easier questions, or draw more with NUM_SAMPLES"
        if not all(reason == NO_ANSWER for reason in reasons)
        else "no answer was found in any: look at the samples, and at RULE, STOP and MAX_TOKENS"
    )
    return f"none of {len(graded):,} solutions of the teacher is kept ({told}): {remedy}"


def _write_left_out(path: Path, graded: Sequence[_Graded], reasons: Sequence[str | None]) -> None:
    lines = [
        json.dumps({"id": one.captured.id, "left_out": reason, "text": one.captured.text}) + "\n"
        for one, reason in zip(graded, reasons)
        if reason is not None
    ]
    files.write_text(path, "".join(lines))


def _figures(
    graded: Sequence[_Graded], reasons: Sequence[str | None], asked: Iterable[Record]
) -> dict[str, Any]:
    questions = {(record.question, record.options) for record in asked}
    questions |= {(one.captured.question, one.captured.options) for one in graded}
    kept = collections.Counter(
        (one.captured.question, one.captured.options)
        for one, reason in zip(graded, reasons)
        if reason is None
    )
    right = [one for one in graded if one.correct]
    left_out: Mapping[str, int] = dict(collections.Counter(filter(None, reasons)).most_common())
    return {
        "samples": len(graded),
        "right": len(right),
        "framed": sum(one.framed for one in right),
        "wrong": left_out.get(WRONG, 0),
        "kept": sum(kept.values()),
        "questions": len(questions),
        "kept_questions": len(kept),
        "questions_without": len(questions) - len(kept),
        "left_out": left_out,
    }
