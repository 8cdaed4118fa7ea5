"""Fields of an answer that came as JSON: what each must be, or how to say that it is not."""

from __future__ import annotations

from typing import Any

_LEAST_LOGPROB = -9999.0
"""What servers write for a probability of zero; JSON has no infinity."""

_ROUNDING_NATS = 5e-3
"""Log-probabilities rounded to two decimals, or of bfloat16, are above zero by no more."""

_MOST_TOKENS = 1 << 40
_DEEPEST = 100


class MalformedAnswer(ValueError):
    """JSON that is no completion; the message says where it differs."""


def check_depth(body: Any) -> None:
    """Checks that no more objects and lists of JSON stand in each other than any answer has.

    Raises:
      RecursionError: there are more.
    """
    level = [body]
    for _ in range(_DEEPEST):
        inner = [value for value in level if isinstance(value, dict | list)]
        if not inner:
            return
        level = [
            held
            for value in inner
            for held in (value.values() if isinstance(value, dict) else value)
        ]
    raise RecursionError(f"JSON of more than {_DEEPEST} levels")


def required(holder: Any, name: str, kind: type, where: str) -> Any:
    """Returns a field that must be there; the rest as `optional`."""
    value = optional(holder, name, kind, where)
    if value is None:
        raise MalformedAnswer(f"{where} has no {name!r}")
    return value


def optional(holder: Any, name: str, kind: type, where: str) -> Any:
    """Returns a field of an object, or None where it is absent or null.

    Raises:
      MalformedAnswer: `holder`, which `where` names, is no object, or the field of another kind.
    """
    if not isinstance(holder, dict):
        raise MalformedAnswer(f"{where} is no JSON object")
    value = holder.get(name)
    if value is not None and not isinstance(value, kind):
        raise MalformedAnswer(f"{name!r} of {where} is {type(value).__name__}, not {kind.__name__}")
    return value


def clean(text: str) -> str:
    """Replaces halves of surrogate pairs, which JSON can hold and no file of UTF-8 can."""
    return text.encode("utf-8", "replace").decode("utf-8")


def token_id(value: Any) -> int:
    """Returns a token's id, or a byte.

    Raises:
      MalformedAnswer: it is no whole number from 0.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 31:
        raise MalformedAnswer(f"expected a whole number from 0, got {str(value)[:40]!r}")
    return value


def count(value: Any) -> int:
    """Returns a number of tokens, which some servers write as 5.0; 0 for what is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return 0
    return int(value) if 0 <= value < _MOST_TOKENS else 0


def logprob(value: Any) -> float | None:
    """Returns a log-probability in nats, -9999 at least; None for null.

    Raises:
      MalformedAnswer: it is none: above zero by more than rounding, or no number.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not value <= _ROUNDING_NATS:
        raise MalformedAnswer(f"expected a log-probability, got {str(value)[:40]!r}")
    return float(max(value, _LEAST_LOGPROB))
