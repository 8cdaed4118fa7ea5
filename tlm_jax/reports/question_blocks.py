"""Questions of an evaluation to be read: what was asked once, what each checkpoint wrote beside."""

from __future__ import annotations

from collections.abc import Mapping

from tlm_jax.evaluation.outcomes import Question, Sample
from tlm_jax.reports.marks import marked_answer

Answers = Mapping[str, Question]
"""What each checkpoint, by name, made of one question."""

Block = Mapping[str, object]
"""What the template `questions.html` shows of one question."""


def question_block(answers: Answers, *, order: int = 0, hardness: int = 0) -> Block:
    """Returns a line that opens to the prompt and every sample, one column a checkpoint.

    Args:
      answers: at least one; id, prompt and right answer are the same in all of them.
      order: the question's place in its task, for sorting in the page.
      hardness: its place among the hardest.
    """
    question = next(iter(answers.values()))
    return {
        "id": question.id,
        "gold": question.gold,
        "prompt": question.prompt,
        "right": "".join("01"[answer.right] for answer in answers.values()),
        "order": order,
        "hardness": hardness,
        "traits": [
            value if isinstance(value, str) else f"{value:,} {name}"
            for name, value in question.traits.items()
        ],
        "columns": [_column(name, answer) for name, answer in answers.items()],
    }


def size_of(answers: Answers) -> int:
    """Returns about how many characters a question's block shows."""
    texts = (sample.text for answer in answers.values() for sample in answer.samples)
    return sum(map(len, texts)) + len(next(iter(answers.values())).prompt)


def _column(name: str, question: Question) -> Block:
    samples = question.samples
    facts = []
    if len(samples) > 1:
        right = sum(sample.correct for sample in samples)
        facts.append(f"{right:,} of {len(samples):,} samples right")
    if question.margin is not None:
        facts.append(f"margin\u00a0{question.margin:+.3f}")
    return {
        "name": name,
        "right": question.right,
        "answer": question.answer,
        "facts": facts,
        "samples": [_sample(sample, several=len(samples) > 1) for sample in samples],
    }


def _sample(sample: Sample, *, several: bool) -> Block:
    kind = ("good" if sample.correct else "bad") if several else ""
    return {
        "classes": f"sample {kind}".strip(),
        "text": marked_answer(sample.text, sample.extracted) if sample.text else "(empty)",
        "cut": not sample.finished,
    }
