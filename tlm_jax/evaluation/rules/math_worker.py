"""The process that compares mathematics; the only module that imports math-verify.

Started by `math_process`.
"""

from __future__ import annotations

from typing import Any

from tlm_jax.limited_process import serve

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
        # math-verify's own limits are of another kind, and raise inside of it.
        return {"same": bool(verify(_parsed(gold), _parsed(answer), timeout_seconds=None))}
    except _TooLarge:
        return {"problem": f"a factorial of more than {MOST_FACTORIAL:,} is not computed"}
    except MemoryError:
        return {"problem": "the comparison needed more memory than allowed"}
    except RecursionError:
        return {"problem": "an answer is nested too deeply"}
    except Exception as error:
        return {"problem": f"math-verify failed ({type(error).__name__})"}


def _parsed(answer: str) -> list:
    from math_verify import parse

    # In a box it is taken as a whole; a sentence is not LaTeX, and is searched for its answer.
    for text in (f"\\boxed{{{answer}}}", answer):
        found = parse(text, parsing_timeout=None)  # pyright: ignore[reportArgumentType]
        if any(not isinstance(part, str) for part in found):
            return found
    return []


if __name__ == "__main__":
    serve(_reply, prepare=_imported)
