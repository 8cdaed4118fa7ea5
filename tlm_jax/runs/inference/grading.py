"""Grades the samples of an inference run, where their prompts have right answers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tlm_jax.evaluation.grading import compare
from tlm_jax.evaluation.rules.registry import rule_by_name
from tlm_jax.runs.inference.prompt import Prompt


class SampleGrader:
    """Grades by one rule, or by the kind of answer that each prompt names."""

    def __init__(self, rule: str | None):
        """Takes the name of a rule of `tlm_jax.grade`; None: by kind.

        Raises:
          UserError: there is no such rule.
        """
        self.rule = rule
        if rule is not None:
            rule_by_name(rule)

    def unreadable(self, prompts: Iterable[Prompt]) -> list[Prompt]:
        """Returns the prompts whose right answer the rule cannot read: they are not graded."""
        return [p for p in prompts if p.gold is not None and self._gold(p, p.gold) is None]

    def fields(self, prompt: Prompt, text: str) -> Mapping[str, Any]:
        """Returns what is written beside a sample; nothing where there is no right answer.

        `extracted` is null where the text holds no answer, `correct` where the right answer
        cannot be read.
        """
        if prompt.gold is None:
            return {}
        name = self.rule or prompt.kind
        rule, gold = rule_by_name(name), self._gold(prompt, prompt.gold)
        extracted = rule.extract(text, prompt.options)
        written = {"gold": prompt.gold, "rule": name, "extracted": extracted}
        if gold is None:
            return {**written, "correct": None}
        if extracted is None:
            return {**written, "correct": False}
        graded = compare(rule, extracted, gold)
        undecided = {"undecided": graded.undecided} if graded.undecided else {}
        return {**written, "correct": graded.correct, **undecided}

    def _gold(self, prompt: Prompt, gold: str) -> str | None:
        return rule_by_name(self.rule or prompt.kind).read_gold(gold, prompt.options)


class GradeCounts:
    """How many samples are right; fed with the samples as they were written."""

    def __init__(self) -> None:
        self.graded = self.correct = self.no_answer = self.undecided = 0

    def add(self, sample: Mapping[str, Any]) -> None:
        """Counts a sample, if it was graded."""
        if sample.get("correct") is None:
            return
        self.graded += 1
        self.correct += sample["correct"]
        self.no_answer += sample["extracted"] is None
        self.undecided += "undecided" in sample

    def figures(self) -> Mapping[str, int]:
        """Returns the counts by name."""
        return dict(vars(self))

    def line(self) -> str | None:
        """Returns them in words; None where nothing was graded."""
        if not self.graded:
            return None
        text = (
            f"{self.correct:,} of {self.graded:,} samples right "
            f"({self.correct / self.graded:.1%}), {self.no_answer:,} without an answer"
        )
        return f"{text}, {self.undecided:,} undecided" if self.undecided else text
