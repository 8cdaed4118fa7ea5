"""Alignment of the kept solutions with the student's tokens: how much can be learned of them."""

from __future__ import annotations

import collections
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tlm_jax.data.formats import FORMATS
from tlm_jax.data.formatted import carried_fields
from tlm_jax.data.records import Record, read_records, write_records
from tlm_jax.data.teacher_imports.examples import targets_of
from tlm_jax.data.teachers.join import OpenTeacher, TeacherJoin
from tlm_jax.errors import UserError
from tlm_jax.runs.training import files
from tlm_jax.teacher_cache.steps import StepDistributions
from tlm_jax.vocabularies import Vocabulary

EXAMPLES, ALIGNED = "examples.jsonl", "aligned.jsonl"

NO_TOKENS = "without tokens of the student's"
LONG_SOLUTION = "longer than the student's targets"
LONG_QUESTION = "of a question longer than the student's inputs"

_AT_ONCE = 256


def align(
    folder: Path,
    solutions: Path,
    join: TeacherJoin,
    vocabulary: Vocabulary,
    *,
    max_inputs: int,
    max_targets: int,
    shown: int,
) -> dict[str, Any]:
    """Writes the solutions that the student can learn from, and some of them aligned.

    `aligned.jsonl` has, for each token of the student, its piece and the pieces that the teacher
    held likely with their probabilities; a token without a counterpart has itself alone.

    Args:
      folder: where to.
      solutions: records that were kept.
      join: the teacher's cache, and how it is aligned.
      vocabulary: the student's.
      max_inputs: most tokens of the student's prompts, EOS included.
      max_targets: of its answers, likewise.
      shown: so many are written aligned.

    Returns:
      The counts: `solutions`, `examples`, by reason `left_out`; `matched`, `missing`, `refused`
      rows of the cache; `soft_share`, `hard_share` and `dropped_share` of the tokens; `kept_mass`,
      the mean probability of soft tokens' candidates that the student has; `unknown`, solutions
      with characters that the student lacks.

    Raises:
      UserError: nothing can be learned.
    """
    teacher = OpenTeacher(join, vocabulary)
    kept: list[Record] = []
    left_out: collections.Counter[str] = collections.Counter()
    lines: list[str] = []
    unknown = count = 0
    for records in _batches(solutions):
        count += len(records)
        tokens = _tokens(records, vocabulary)
        asked = [len(ids) + 1 for ids in vocabulary.encode_batch([_question(r) for r in records])]
        usable = []
        for number, ids in enumerate(tokens):
            reason = _reason(len(ids), asked[number], max_inputs, max_targets)
            if reason is None:
                usable.append(number)
            else:
                left_out[reason] += 1
        found = teacher.steps_of(
            [_example(records[number]) for number in usable], [tokens[n] for n in usable]
        )
        for number, steps in zip(usable, found):
            kept.append(records[number])
            unknown += vocabulary.unk_id is not None and vocabulary.unk_id in tokens[number]
            if isinstance(steps, StepDistributions) and len(lines) < shown:
                lines.append(_line(records[number], tokens[number], steps, vocabulary))
    if not kept:
        told = ", ".join(f"{n:,} {reason}" for reason, n in left_out.most_common())
        raise UserError(
            f"none of {count:,} solutions can be learned from ({told}): raise TASK_FEATURE_LENGTHS"
        )
    write_records(folder / EXAMPLES, kept)
    files.write_text(folder / ALIGNED, "".join(lines))
    counts, coverage = teacher.counts, teacher.counts.coverage
    all_tokens = max(coverage.tokens, 1)
    return {
        "solutions": count,
        "examples": len(kept),
        "left_out": dict(left_out.most_common()),
        "unknown": unknown,
        "matched": counts.matched,
        "missing": counts.missing + counts.stale,
        "refused": counts.refused,
        "student_tokens": coverage.tokens,
        "soft_share": coverage.soft / all_tokens,
        "hard_share": coverage.hard / all_tokens,
        "dropped_share": coverage.dropped / all_tokens,
        "kept_mass": coverage.kept_mass / coverage.soft if coverage.soft else None,
    }


def _batches(path: Path) -> Iterator[list[Record]]:
    held: list[Record] = []
    for record in read_records(path):
        held.append(record)
        if len(held) == _AT_ONCE:
            yield held
            held = []
    if held:
        yield held


def _tokens(records: Sequence[Record], vocabulary: Vocabulary) -> list[np.ndarray]:
    encoded = vocabulary.encode_batch([targets_of(record) for record in records])
    return [np.append(ids, np.int32(vocabulary.eos_id)).astype(np.int32) for ids in encoded]


def _question(record: Record) -> str:
    return FORMATS["cot_zero_shot"].inputs(record)


def _reason(tokens: int, asked: int, max_inputs: int, max_targets: int) -> str | None:
    if tokens < 2:
        return NO_TOKENS
    if tokens > max_targets:
        return LONG_SOLUTION
    return LONG_QUESTION if asked > max_inputs else None


def _example(record: Record) -> dict[str, str]:
    return {**carried_fields(record), "targets": targets_of(record)}


def _line(
    record: Record, tokens: np.ndarray, steps: StepDistributions, vocabulary: Vocabulary
) -> str:
    targets = [
        [
            [vocabulary.piece(int(i)), round(float(np.exp(logprob)), 6)]
            for i, logprob in zip(ids, logprobs)
            if logprob > -np.inf
        ]
        for ids, logprobs in zip(steps.ids, steps.logprobs)
    ]
    told = {
        "id": record.id,
        "question": record.question,
        "text": targets_of(record),
        "pieces": [vocabulary.piece(int(i)) for i in tokens],
        "targets": targets,
    }
    return json.dumps(told, ensure_ascii=False) + "\n"
