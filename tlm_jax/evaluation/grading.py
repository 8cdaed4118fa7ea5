"""Grading: whether the answer in a model's output is the gold answer."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from tlm_jax.evaluation.rules.registry import rule_by_name
from tlm_jax.evaluation.rules.rule import Rule, Undecided


class Graded(NamedTuple):
    """What was found in the output (None: no answer of the right kind) and whether it is right.

    Where the comparison ended without a verdict, `undecided` says why, and it counts as wrong.
    """

    extracted: str | None
    correct: bool
    undecided: str = ""


def grade(rule: str, text: str, gold: str, options: Sequence[str] | None = None) -> Graded:
    """Grades a model's output; no answer is wrong, never an error.

    Args:
      rule: the name of a rule in `rules.registry.RULES`. The kinds of records ('numeric', 'choice',
        'boolean', 'text') are names of the strict ones.
      text: what the model wrote.
      gold: the gold answer as records write it. One that the rule cannot read equals nothing.
      options: texts of the options of a choice.
    """
    chosen = rule_by_name(rule)
    gold_answer = chosen.read_gold(gold, options)
    extracted = chosen.extract(text, options)
    if gold_answer is None or extracted is None:
        return Graded(extracted, False)
    return compare(chosen, extracted, gold_answer)


def grade_example(
    example: Mapping[str, object], text: str, rule: str | None = None
) -> tuple[str | None, str | None, bool | None]:
    """Returns gold answer, extracted answer and whether they agree; None for what there is not.

    A gold answer that the rule cannot read gives no verdict.

    Args:
      example: with the fields `answer`, `kind` and, of a choice, `options_json`.
      text: what the model wrote.
      rule: None for the kind that the example names.
    """
    gold = str(example["answer"]) if "answer" in example and "kind" in example else ""
    if not gold:
        return None, None, None
    options = json.loads(str(example.get("options_json", "null")))
    rule = rule or str(example["kind"])
    graded = grade(rule, text, gold, options)
    return gold, graded.extracted, graded.correct if readable(rule, gold, options) else None


def readable(rule: str, gold: str, options: Sequence[str] | None = None) -> bool:
    """Whether a rule can read a gold answer; if not, no output could be right."""
    return rule_by_name(rule).read_gold(gold, options) is not None


def extract(rule: str, text: str, options: Sequence[str] | None = None) -> str | None:
    """Returns the answer in a text as a rule finds it, written as records write answers, or None.

    By the strict rules: where the text holds a marker (`the answer is`, in any case, or `####`),
    only what follows the last one counts; a marker without an answer behind it gives None.
    """
    return rule_by_name(rule).extract(text, options)


def votes(rule: str, answers: Sequence[str | None]) -> list[str | None]:
    """Returns what each answer votes for: the first of them that is the same by the rule.

    One half and 0.5 are one vote's. Official rules compare text, and so do their votes.
    """
    if rule not in _BY_MEANING:
        return list(answers)
    forms: dict[str, str] = {}
    for answer in answers:
        if answer is not None and answer not in forms:
            first = next((f for f in forms.values() if same_answer(rule, answer, f)), answer)
            forms[answer] = first
    return [None if answer is None else forms[answer] for answer in answers]


def compare(rule: Rule, extracted: str, gold: str) -> Graded:
    """Compares what a rule found in an output with the gold answer as the rule reads it."""
    try:
        return Graded(extracted, rule.same(extracted, gold))
    except Undecided as reason:
        return Graded(extracted, False, str(reason))


def same_answer(rule: str, extracted: str, gold: str) -> bool:
    """Whether an extracted answer equals a gold one, by the rule's own comparison."""
    return compare(rule_by_name(rule), extracted, gold).correct


_BY_MEANING = ("numeric", "text", "math")
