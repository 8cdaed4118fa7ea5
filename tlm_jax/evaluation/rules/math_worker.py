"""The process that compares mathematics; the only module that imports math-verify.

Started by `math_process`.
"""

from __future__ import annotations

import re
from typing import Any

from tlm_jax.system.limited_process import serve

MOST_FACTORIAL = 100_000
"""What has half a million digits is no answer that anyone compares."""


class _TooLarge(BaseException):
    """Not an Exception, which the libraries on the way would take for text that is no formula."""


def _imported() -> None:
    # Once, and outside the limit of the first question.
    import math_verify  # noqa: F401
    from sympy import factorial, factorial2, gamma

    functions: list[Any] = [factorial, factorial2, gamma]
    for function in functions:
        if not hasattr(function, "unlimited"):
            function.unlimited = function.eval
            function.eval = classmethod(_evaluated)


def _evaluated(function: Any, n: Any) -> Any:
    """SymPy computes the factorial of any whole number as soon as it is written."""
    if n.is_Integer and n > MOST_FACTORIAL:
        raise _TooLarge
    return function.unlimited(n)


def _reply(question: dict[str, Any]) -> dict[str, Any]:
    from math_verify import verify

    gold, answer = question["gold"], question["answer"]

    try:
        golds, answers = _as_sets(_parsed(gold), _parsed(answer))
        # math-verify's own limits are of another kind, and raise inside of it.
        same = bool(verify(golds, answers, timeout_seconds=None))
        return {"same": same and not _differ_exactly(golds, answers)}
    except _TooLarge:
        return {"problem": f"a factorial of more than {MOST_FACTORIAL:,} is not computed"}
    except MemoryError:
        return {"problem": "the comparison needed more memory than allowed"}
    except RecursionError:
        return {"problem": "an answer is nested too deeply"}
    except Exception as error:
        return {"problem": f"math-verify failed ({type(error).__name__})"}


def _parsed(answer: str) -> list:
    """Returns what an answer means; nothing where it is not understood as a whole.

    It is taken as the content of a box, and only so: a search of the text for something that can
    be read would find the 5 in `5+\\foo{7}`. Prose with one number in it is that number.
    """
    from math_verify import LatexExtractionConfig, parse

    only = LatexExtractionConfig(boxed_match_priority=0, try_extract_without_anchor=False)
    if _PROSE.fullmatch(answer) and not _FUNCTION.search(answer):
        answer = _PROSE_AROUND.sub("", answer)
    found = parse(
        f"\\boxed{{{answer}}}",
        extraction_config=[only],
        fallback_mode="no_fallback",
        extraction_mode="first_match",
        parsing_timeout=None,  # pyright: ignore[reportArgumentType]
    )
    understood = any(not isinstance(part, str) for part in found)
    return [_as_set(part) for part in found] if understood else []


def _as_sets(golds: list, answers: list) -> tuple[list, list]:
    """Returns both with `x > 2` as the set that it means, where the other one is a set."""
    import sympy

    both = (golds, answers)
    if sum(any(isinstance(part, sympy.Set) for part in parts) for parts in both) != 1:
        return both
    bound = (sympy.StrictLessThan, sympy.LessThan, sympy.StrictGreaterThan, sympy.GreaterThan)

    def as_sets(parts: list) -> list:
        return [
            part.as_set() if isinstance(part, bound) and len(part.free_symbols) == 1 else part
            for part in parts
        ]

    return as_sets(golds), as_sets(answers)


def _as_set(part: object) -> object:
    """Returns the set that bounds on both sides of one variable mean."""
    import sympy

    if isinstance(part, sympy.And) and len(part.free_symbols) == 1:
        return part.as_set()
    return part


def _differ_exactly(golds: list, answers: list) -> bool:
    """Whether two exact numbers differ, which a comparison of decimals may not see."""
    import sympy

    pairs = [part for parts in (golds[:1], answers[:1]) for part in parts]
    if len(pairs) < 2 or not all(isinstance(part, sympy.Expr) for part in pairs):
        return False
    gold, answer = (part.doit() for part in pairs)
    return bool(gold.is_Rational and answer.is_Rational and gold != answer)


_PROSE = re.compile(
    r"(?:[A-Za-z]{2,},? ){0,60}-?\$?[0-9][0-9,]*(?:\.[0-9]+)?%?(?: [A-Za-z]{2,}[,.]?){0,60}[.]?"
)
_PROSE_AROUND = re.compile(r"^[^0-9-]+|[^0-9%]+$")
_FUNCTION = re.compile(r"\b(?:sin|cos|tan|cot|sec|csc|log|ln|exp|sqrt|pi|mod|max|min|lim)\b")


if __name__ == "__main__":
    serve(_reply, prepare=_imported)
