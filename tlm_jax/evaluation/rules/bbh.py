"""The rules of BIG-Bench Hard: its authors' exact one, and FlanT5's substring, faults included."""

from __future__ import annotations

from tlm_jax.evaluation.rules.rule import Options, Rule, stripped_gold

_AUTHORS_MARKER = "So the answer is "


def _exact(text: str, options: Options) -> str | None:
    _, marker, answer = text.rpartition(_AUTHORS_MARKER)
    return answer.strip().removesuffix(".") or None if marker else None


def _between_markers(text: str, options: Options) -> str | None:
    parts = text.split("the answer is", 2)
    return parts[1] if len(parts) > 1 else None


def _equal(extracted: str, gold: str) -> bool:
    return extracted == gold


def _contains(extracted: str, gold: str) -> bool:
    return gold in extracted


EXACT = Rule(
    name="bbh_exact",
    summary="text between 'So the answer is ' and the final full stop, exactly the target",
    extract=_exact,
    read_gold=stripped_gold,
    same=_equal,
    source="BIG-Bench Hard (suzgunmirac/BIG-Bench-Hard)",
    faults=("answers in other words, or with anything behind the full stop, are wrong",),
)
SUBSTRING = Rule(
    name="official_bbh_substring",
    summary="the target stands anywhere after the first 'the answer is', up to the next one",
    extract=_between_markers,
    read_gold=stripped_gold,
    same=_contains,
    source="FlanT5 specialization (FranxYao/FlanT5-CoT-Specialization, test_bbh.py)",
    faults=(
        "'invalid' contains 'valid', and an answer that names every option is right",
        "what follows the answer counts, too",
    ),
)
