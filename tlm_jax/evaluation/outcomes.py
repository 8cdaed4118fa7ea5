"""Outcomes of one checkpoint on one task in one way, and their figures with intervals."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from tlm_jax.data.traits import Trait
from tlm_jax.evaluation import statistics
from tlm_jax.evaluation.breakdown import breakdowns
from tlm_jax.evaluation.intervals import wilson


@dataclass(frozen=True)
class Sample:
    """One generation, or the options' scores as text.

    Attributes:
      text: what the model wrote.
      extracted: the answer in it, or None.
      correct: whether that is right.
      finished: whether it ended by itself rather than at the limit.
      vote: the answer that it votes for, where another sample has the same one in another form.
    """

    text: str
    extracted: str | None
    correct: bool
    finished: bool = True
    vote: str | None = None

    @property
    def ballot(self) -> str | None:
        """What the sample votes for; None where it has no answer."""
        return self.extracted if self.vote is None else self.vote


@dataclass(frozen=True)
class Question:
    """One graded question.

    Attributes:
      id: the example's.
      prompt: what the model read.
      gold: the right answer.
      answer: what counts as the model's answer: of several samples, their majority.
      right: whether it is right.
      samples: at least one.
      traits: what may make it hard (`data.traits`).
      margin: by how much it was answered rightly, negative where wrongly; of one mode only are they
        comparable. "rank": the right option's score less the best other one's, in nats;
        "self_consistency": the share of samples that are right less that of the most frequent wrong
        answer; "greedy": the geometric mean probability of the written tokens, its sign turned
        where the answer is wrong.
    """

    id: str
    prompt: str
    gold: str
    answer: str | None
    right: bool
    samples: tuple[Sample, ...]
    traits: Mapping[str, Trait] = field(default_factory=dict)
    margin: float | None = None

    @property
    def share_right(self) -> float:
        """Share of the samples that are right."""
        return sum(sample.correct for sample in self.samples) / len(self.samples)


@dataclass(frozen=True)
class Outcome:
    """One checkpoint on one task.

    Attributes:
      checkpoint: its name.
      task: the task's.
      mode: "greedy", "rank" or "self_consistency".
      questions: those with a right answer, in the task's order.
      ungraded: how many examples are not among them.
      truncated: how many prompts were cut.
      unreadable: ids of the examples whose right answer cannot be read.
      boundary: of "rank", in how many of how many options the tokenizer joins context and option,
        (different, pairs); None where there is no such border.
    """

    checkpoint: str
    task: str
    mode: str
    questions: tuple[Question, ...]
    ungraded: int = 0
    truncated: int = 0
    unreadable: tuple[str, ...] = ()
    boundary: tuple[int, int] | None = None

    @property
    def rights(self) -> np.ndarray:
        """Which questions were answered rightly, bool [n]."""
        return np.asarray([question.right for question in self.questions], bool)

    def summary(self) -> dict[str, Any]:
        """Returns the figures; None for what cannot be told of so few questions."""
        right, count = int(self.rights.sum()), len(self.questions)
        low, high = wilson(right, count)
        samples = [sample for question in self.questions for sample in question.samples]
        unparsed = sum(sample.extracted is None for sample in samples)
        error = statistics.standard_error(self.rights.astype(np.float64))
        result = {
            "checkpoint": self.checkpoint,
            "task": self.task,
            "mode": self.mode,
            "questions": count,
            "right": right,
            "accuracy": right / count if count else None,
            "accuracy_low": low,
            "accuracy_high": high,
            "standard_error": None if math.isnan(error) else error,
            "unparsable_share": unparsed / len(samples) if samples else 0.0,
            "unfinished_share": sum(not s.finished for s in samples) / max(len(samples), 1),
            "ungraded": self.ungraded,
            "truncated_prompts": self.truncated,
            "unreadable_answers": list(self.unreadable),
        }
        if self.boundary is not None:
            result["boundary"] = dict(zip(("different", "pairs"), self.boundary))
        by = breakdowns([question.traits for question in self.questions], self.rights.tolist())
        if by:
            result["by"] = by
        if self.mode == "self_consistency":
            result["curve"] = curve(self.questions)
        return result


def majority_question(
    name: str,
    prompt: str,
    gold: str,
    samples: Sequence[Sample],
    traits: Mapping[str, Trait] | None = None,
) -> Question:
    """Returns a question whose answer is the majority of its samples; without any, no answer."""
    answer = statistics.majority([sample.ballot for sample in samples])
    right = any(sample.correct for sample in samples if sample.ballot == answer)
    chosen = answer if isinstance(answer, str) else None
    wrong = Counter(s.ballot for s in samples if not s.correct and s.ballot is not None)
    most_wrong = max(wrong.values(), default=0)
    margin = (sum(sample.correct for sample in samples) - most_wrong) / len(samples)
    return Question(
        name,
        prompt,
        gold,
        chosen,
        right and chosen is not None,
        tuple(samples),
        traits or {},
        margin,
    )


def hardest(outcomes: Sequence[Outcome]) -> list[str]:
    """Returns the ids of the questions that all outcomes have, hardest first.

    Sorted by the share of samples that are right, a mean over the outcomes, then by the mean
    margin; of equals the first in the task's order.

    Args:
      outcomes: of different checkpoints on one task in one mode.
    """
    by_id = [{question.id: question for question in outcome.questions} for outcome in outcomes]
    shared = [name for name in by_id[0] if all(name in other for other in by_id)] if by_id else []

    def ease(name: str) -> tuple[float, float]:
        found = [questions[name] for questions in by_id]
        margins = [question.margin for question in found if question.margin is not None]
        share = sum(question.share_right for question in found) / len(found)
        return share, sum(margins) / len(margins) if margins else 0.0

    return sorted(shared, key=ease)


def curve(questions: Sequence[Question]) -> list[dict[str, Any]]:
    """Returns maj@k and pass@k over k, means over the questions with bootstrap intervals.

    Questions with fewer samples than others limit k to theirs.
    """
    if not questions:
        return []
    rows = []
    for k in statistics.curve_ks(min(len(question.samples) for question in questions)):
        row: dict[str, Any] = {"k": k}
        for name, values in (
            ("maj", [_maj(question, k) for question in questions]),
            ("pass", [_pass(question, k) for question in questions]),
        ):
            low, high = statistics.bootstrap(np.asarray(values))
            mean = statistics.mean_over_questions(values)
            row |= {name: mean, f"{name}_low": low, f"{name}_high": high}
        rows.append(row)
    return rows


def compared(first: Outcome, second: Outcome) -> dict[str, Any]:
    """Returns how two checkpoints differ on the questions that both have, and which broke."""
    of_second = {question.id: question for question in second.questions}
    pairs = [(q, of_second[q.id]) for q in first.questions if q.id in of_second]
    found = statistics.compare(
        np.asarray([a.right for a, _ in pairs], bool), np.asarray([b.right for _, b in pairs], bool)
    )
    low, high = found.interval
    return {
        "task": first.task,
        "mode": first.mode,
        "first": first.checkpoint,
        "second": second.checkpoint,
        "questions": found.questions,
        "fixed": found.fixed,
        "broken": found.broken,
        "difference": found.difference if pairs else None,
        "difference_low": low if pairs else None,
        "difference_high": high if pairs else None,
        "p_value": found.p_value,
        "newly_broken": [a.id for a, b in pairs if a.right and not b.right],
        "newly_right": [a.id for a, b in pairs if b.right and not a.right],
    }


def as_lines(outcome: Outcome) -> list[dict[str, Any]]:
    """Returns a JSON object for each question."""
    return [asdict(question) for question in outcome.questions]


def _maj(question: Question, k: int) -> float:
    samples = question.samples
    return statistics.maj_at_k([s.ballot for s in samples], [s.correct for s in samples], k)


def _pass(question: Question, k: int) -> float:
    right = sum(sample.correct for sample in question.samples)
    return statistics.pass_at_k(len(question.samples), right, k)
