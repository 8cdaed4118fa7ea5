"""Correction-centric evolution: new questions from those that have a correction.

The fourth version of the paper (arXiv:2310.20689v4): questions that a model gets wrong and a
corrector right are of medium difficulty, and so are seeds drawn from them.
"""

from __future__ import annotations

import collections
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from tlm_jax.data.records import Record, read_json_lines, write_records
from tlm_jax.errors import UserError
from tlm_jax.evaluation.grading import extract, votes
from tlm_jax.recipes.lema.speaking import Speaking
from tlm_jax.runs.training import files

EVOLVED, DROPPED = "evolved.jsonl", "dropped.jsonl"

NO_QUESTION = "no question"
SAME_QUESTION = "the same question as before"
ALL_DIFFER = "all answers differ"
NO_ANSWERS = "no answers"

_GIVEN, _CREATED = "#Given Question#:", "#Created Question#:"

PROMPT = (
    "You are a teacher of mathematics who writes exercises. Write one new question after the "
    "model of the given one. Let it be about another situation and in other words, as hard as the "
    "given one, complete in itself, and such that its answer is a number alone. Write the question "
    "and nothing else, no solution.\n\n"
)
"""Before the given question; in our own words, what the paper's Figure 7 asks for."""


@dataclasses.dataclass(frozen=True)
class Evolution:
    """How new questions are made.

    Attributes:
      model: who writes them; "start" for the model from which the arms start; None with `file`.
      speaking: how it writes.
      solver: who answers them, `num_samples` of `solving` times; by default three.
      solving: how it answers.
      file: questions that are there already, JSON Lines with `question`; None: the model's.
      num_seeds: so many questions that have a correction, drawn with replacement.
      seed: of the draw.
      rounds: 1; 2 collects the mistakes of the first round's fine-tuned models on the same new
        questions, too, and trains anew.
      teacher_arm: whose models these are.
    """

    model: str | None
    speaking: Speaking
    solver: str
    solving: Speaking
    file: str | None = None
    num_seeds: int = 10_000
    seed: int = 0
    rounds: int = 1
    teacher_arm: str = "lema"

    def __post_init__(self) -> None:
        if (self.model is None) == (self.file is None):
            raise UserError("evolution takes questions of a model or of a file: set one of the two")
        if self.num_seeds < 1:
            raise UserError(f"NUM_SEEDS is {self.num_seeds}, expected at least 1")
        if self.rounds not in (1, 2):
            raise UserError(f"EVOLUTION_ROUNDS is {self.rounds}, expected 1 or 2")


def seeds(kept: Sequence[Record], number: int, seed: int) -> list[Record]:
    """Returns questions that have a correction, drawn with replacement; each draw has its own id.

    Args:
      kept: corrections.
      number: of draws.
      seed: of the draws.
    """
    by_question = {record.get("question_id"): record for record in kept}
    questions = list(by_question.values())
    places = np.random.default_rng(seed).integers(0, len(questions), number)
    return [
        dataclasses.replace(questions[int(place)], id=f"seed-{n}", rationale=None, generated={})
        for n, place in enumerate(places)
    ]


def prompt(record: Record) -> str:
    """Returns what asks for a new question."""
    return f"{PROMPT}{_GIVEN}\n{record.question}\n\n{_CREATED}\n"


def read_question(text: str) -> str:
    """Returns the new question in an answer; nothing where there is none."""
    created = text.rsplit(_CREATED, 1)[-1].split(_GIVEN)[0].strip()
    return " ".join(created.split("\n\n")[0].split())


def created(samples: Path, seeds: Sequence[Record], data_set: str) -> tuple[list[Record], Counts]:
    """Returns the new questions of a model's answers, without answers yet, and what is dropped."""
    known = {record.question_words() for record in seeds}
    found: list[Record] = []
    counts: Counts = collections.Counter()
    for _, row in read_json_lines(samples, any_text=True):
        _take(read_question(row["text"]), f"{data_set}_evolved", known, found, counts)
    return found, counts


def listed(path: Path, data_set: str) -> tuple[list[Record], Counts]:
    """Returns the questions of a file, without answers yet, and what is dropped."""
    found: list[Record] = []
    counts: Counts = collections.Counter()
    known: set[tuple[str, ...]] = set()
    for _, row in read_json_lines(path):
        _take(str(row.get("question") or ""), f"{data_set}_evolved", known, found, counts)
    return found, counts


Counts = collections.Counter[str]


def answered(
    folder: Path, questions: Sequence[Record], samples: Path, rule: str, dropped: Counts
) -> dict[str, Any]:
    """Writes the questions with the answer of the majority, and a solution that found it.

    A question is dropped where no two answers are the same.

    Args:
      folder: where to.
      questions: the new ones.
      samples: their answers.
      rule: that finds answers, and says which are the same.
      dropped: questions that were dropped before, by reason.

    Raises:
      UserError: none is left.
    """
    texts: dict[str, list[str]] = collections.defaultdict(list)
    for _, row in read_json_lines(samples, any_text=True):
        texts[row["id"]].append(row["text"])
    found: list[Record] = []
    lost: list[dict[str, Any]] = []
    for record in questions:
        ballots = votes(rule, [extract(rule, text) for text in texts[record.id]])
        counted = collections.Counter(ballot for ballot in ballots if ballot is not None)
        answer, most = counted.most_common(1)[0] if counted else ("", 0)
        if most < 2:
            reason = ALL_DIFFER if counted else NO_ANSWERS
            dropped[reason] += 1
            lost.append({"question": record.question, "answers": ballots, "reason": reason})
            continue
        solution = texts[record.id][ballots.index(answer)]
        found.append(dataclasses.replace(record, kind="numeric", answer=answer, rationale=solution))
    if not found:
        why = ", ".join(f"{n:,} {reason}" for reason, n in dropped.most_common())
        raise UserError(
            f"evolution made no question with an answer ({why}): take a stronger model or solver"
        )
    if jax.process_index() == 0:
        write_records(folder / EVOLVED, found)
    files.write_text(folder / DROPPED, "".join(json.dumps(row) + "\n" for row in lost))
    return {
        "questions": len(questions),
        "evolved": len(found),
        "dropped": dict(dropped.most_common()),
    }


def _take(
    question: str, data_set: str, known: set[tuple[str, ...]], found: list[Record], counts: Counts
) -> None:
    record = Record(f"evolved-{len(found)}", data_set, "train", "text", question, None, "")
    if not question:
        counts[NO_QUESTION] += 1
    elif record.question_words() in known:
        counts[SAME_QUESTION] += 1
    else:
        known.add(record.question_words())
        found.append(record)
