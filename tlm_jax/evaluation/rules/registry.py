"""The grading rules by name."""

from __future__ import annotations

from tlm_jax.errors import UserError, nearest
from tlm_jax.evaluation.rules import (
    bbh,
    math_rule,
    official_choice,
    official_lema,
    official_lema_choice,
    official_lema_math,
    official_numeric,
    strict,
)
from tlm_jax.evaluation.rules.rule import Rule

RULES: dict[str, Rule] = {
    rule.name: rule
    for rule in (
        strict.NUMERIC,
        strict.CHOICE,
        strict.BOOLEAN,
        strict.TEXT,
        math_rule.MATH,
        bbh.EXACT,
        official_numeric.LAST_NUMBER,
        official_numeric.AFTER_HASHES,
        official_choice.THIRD_FROM_END,
        official_lema.THE_ANSWER_IS,
        official_lema.TWO_DECIMALS,
        official_lema_math.LEMA_MATH,
        official_lema_choice.LEMA_CHOICE,
        bbh.SUBSTRING,
    )
}
"""Every rule; the strict ones bear the names of the kinds of records."""


def rule_by_name(name: str) -> Rule:
    """Returns a rule.

    Raises:
      UserError: for a name that no rule has, with the nearest one that a rule has.
    """
    if name not in RULES:
        known = ", ".join(RULES)
        raise UserError(f"no grading rule {name!r}.{nearest(name, RULES)} Rules: {known}.")
    return RULES[name]
