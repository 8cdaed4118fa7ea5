"""Numbers in free text, read by a small grammar: model output is never evaluated as code."""

from __future__ import annotations

import math
import operator
import re
from collections import deque
from collections.abc import Iterator

RELATIVE_TOLERANCE = 1e-6
LONGEST_EXPRESSION = 500
"""Characters."""


def find_numbers(text: str) -> list[float]:
    """Returns the numbers of a text in order.

    Read as one number: commas between digits (1,000), a leading minus and currency ($-3, -$3, £2),
    decimals (.5), exponents (1e3), fractions (3/4) and mixed numbers (1 1/2). A per cent sign or a
    unit after it is passed over: 50% is 50. Only ASCII digits are digits. What no finite float can
    hold (1e999) is passed over. A hyphen right behind a digit or a letter is no sign: in `16-3`
    the numbers are 16 and 3.
    """
    return list(_values(text))


def first_number(text: str) -> float | None:
    """Returns the first number of a text, as `find_numbers` reads them, or None."""
    return next(_values(text), None)


def last_number(text: str) -> float | None:
    """Returns the last number of a text, as `find_numbers` reads them, or None."""
    last = deque(_values(text), maxlen=1)
    return last[0] if last else None


def evaluate(expression: str) -> float | None:
    """Returns the value of an arithmetic expression, or None if the text is not one.

    Numbers as `find_numbers` reads them, + - * / (also × ÷ −), parentheses; no powers, no names.
    Division by zero, results beyond floats, more than LONGEST_EXPRESSION characters or nesting
    deeper than 50 give None.
    """
    if len(expression) > LONGEST_EXPRESSION:
        return None
    tokens = _tokens(expression)
    if tokens is None:
        return None
    parser = _Parser(tokens)
    try:
        value = parser.sum(0)
    except (_NotAnExpression, ZeroDivisionError, OverflowError):
        return None
    return value if parser.at_end() and math.isfinite(value) else None


def close(one: float, other: float) -> bool:
    """Whether two numbers are equal up to a relative tolerance of 1e-6 (1e-9 around zero)."""
    return math.isclose(one, other, rel_tol=RELATIVE_TOLERANCE, abs_tol=1e-9)


def format_number(value: float) -> str:
    """Returns a number as records write it: without commas, and without '.0' if it is whole."""
    if value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return repr(value)


class _NotAnExpression(Exception):
    """The tokens do not form an expression."""


class _Parser:
    """Recursive descent over the tokens of an expression."""

    def __init__(self, tokens: list[float | str]):
        self._tokens = tokens
        self._place = 0

    def at_end(self) -> bool:
        return self._place == len(self._tokens)

    def sum(self, depth: int) -> float:
        value = self._product(depth)
        while sign := self._take("+", "-"):
            value = _OPERATORS[sign](value, self._product(depth))
        return value

    def _product(self, depth: int) -> float:
        value = self._factor(depth)
        while sign := self._take("*", "/"):
            value = _OPERATORS[sign](value, self._factor(depth))
        return value

    def _factor(self, depth: int) -> float:
        if depth > _DEEPEST_NESTING:
            raise _NotAnExpression
        if self._take("-"):
            return -self._factor(depth + 1)
        if self._take("+"):
            return self._factor(depth + 1)
        if self._take("("):
            value = self.sum(depth + 1)
            if not self._take(")"):
                raise _NotAnExpression
            return value
        if self.at_end() or isinstance(self._tokens[self._place], str):
            raise _NotAnExpression
        value = self._tokens[self._place]
        self._place += 1
        return float(value)

    def _take(self, *wanted: str) -> str | None:
        """Returns the next token and steps over it if it is one of those wanted."""
        if not self.at_end() and self._tokens[self._place] in wanted:
            self._place += 1
            return str(self._tokens[self._place - 1])
        return None


_OPERATORS = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv}
_DEEPEST_NESTING = 50

_DIGITS = r"(?:[0-9]+(?:,[0-9]+)*(?:\.[0-9]+)?|\.[0-9]+)(?:[eE][-+]?[0-9]+(?![0-9A-Za-z]))?"
_NUMBER = re.compile(
    # A sign before or behind the currency; a hyphen that joins or subtracts is none.
    r"(?P<minus>(?<![0-9A-Za-z)])[-−])?(?:[$£€¥][ ]?(?P<inner>[-−])?)?"
    rf"(?P<first>{_DIGITS})"
    r"(?:[ ](?P<over>[0-9]+)/(?P<under_mixed>[0-9]+)|[ ]?/[ ]?(?P<under>[0-9]+(?:\.[0-9]+)?))?"
)
_TOKEN = re.compile(rf"\s*(?:[$£€¥]?({_DIGITS})|([-+*/()×÷−]))")


def _values(text: str) -> Iterator[float]:
    for match in _NUMBER.finditer(text):
        value = _value(match)
        if value is not None:
            yield value


def _value(match: re.Match[str]) -> float | None:
    value = _to_float(match["first"])
    if match["under_mixed"]:
        value += _quotient(_to_float(match["over"]), _to_float(match["under_mixed"]))
    elif match["under"]:
        value = _quotient(value, _to_float(match["under"]))
    if match["minus"] or match["inner"]:
        value = -value
    return value if math.isfinite(value) else None


def _to_float(digits: str) -> float:
    return float(digits.replace(",", ""))


def _quotient(over: float, under: float) -> float:
    return over / under if under else math.nan


def _tokens(expression: str) -> list[float | str] | None:
    """Returns numbers and signs, or None where there is anything else."""
    tokens: list[float | str] = []
    place, text = 0, expression.strip()
    while place < len(text):
        match = _TOKEN.match(text, place)
        if match is None:
            return None
        number, sign = match.groups()
        if number is None:
            tokens.append({"×": "*", "÷": "/", "−": "-"}.get(sign, sign))
        else:
            tokens.append(_to_float(number))
        place = match.end()
    return tokens
