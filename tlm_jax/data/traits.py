"""Traits that may make a question hard, as far as its record tells, for figures by difficulty."""

from __future__ import annotations

import re
from collections.abc import Iterable

from tlm_jax.data.formats import question_with_options
from tlm_jax.data.records import Record

Trait = int | str


def traits(record: Record) -> dict[str, Trait]:
    """Returns what is known of a question, by name; what its source does not tell is left out.

    - `words`: of the question with its options;
    - `steps`: of the gold rationale: those that the source counts, else its lines, or its sentences
      where it is a single line;
    - `operations`: GSM8K's calculator marks, or the operators in the gold equation;
    - `options`: of a choice;
    - `level`, `grade`, `subject`, `task`, `type`, `num_digits`: as the source has them.

        MATH     {"words": 10, "steps": 3, "level": "Level 3", "subject": "Algebra"}
        GSM8K    {"words": 52, "steps": 2, "operations": 2}
    """
    found: dict[str, Trait | None] = {
        "words": len(question_with_options(record).split()),
        "steps": _steps(record),
        "operations": _operations(record),
        "options": len(record.options) if record.kind == "choice" and record.options else None,
        **{name: _named(record.meta.get(name)) for name in _NAMED},
    }
    return {name: value for name, value in found.items() if value is not None}


_NAMED = ("level", "grade", "subject", "task", "type", "num_digits")
_MARK = re.compile(r"<<[^<>\n]*>>")
_OPERATOR = re.compile(r"[\d.)]\s*[-+*/]")  # behind a number: a sign is no operator
_SENTENCE_END = re.compile(r"[.!?](?=\s|$)")


def _named(value: object) -> Trait | None:
    return value if isinstance(value, int | str) and value != "" else None


def _steps(record: Record) -> int | None:
    if isinstance(count := record.meta.get("num_steps"), int):
        return count
    if isinstance(parts := record.meta.get("decomposition"), list) and parts:
        return len(parts)
    lines = [line for line in (record.rationale or "").split("\n") if line.strip()]
    if len(lines) == 1:
        return sum(bool(part.strip()) for part in _SENTENCE_END.split(lines[0]))
    return len(lines) or None


def _operations(record: Record) -> int | None:
    marks = len(_MARK.findall(record.rationale or ""))
    equations = (record.meta.get(name) for name in ("equation", "equations", "formula"))
    return marks or sum(_operators(equation) for equation in equations) or None


def _operators(equation: object) -> int:
    if isinstance(equation, str):
        return len(_OPERATOR.findall(equation))
    if isinstance(equation, Iterable):
        return sum(_operators(part) for part in equation)
    return 0
