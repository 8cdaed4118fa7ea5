"""Arithmetic by a small grammar, and numbers as records write them: output is never run as code."""

from __future__ import annotations

import math
import operator
import re

RELATIVE_TOLERANCE = 1e-6
LONGEST_EXPRESSION = 500
"""Characters."""


def evaluate(expression: str) -> float | None:
    """Returns the value of an arithmetic expression, or None if the text is not one.

    Numbers with commas between digits, decimals and exponents, a currency before them; + - * /
    (also × ÷ −), parentheses; no powers, no names. Official rules calculate with it, too, so what
    it takes for a number does not change. Division by zero, results beyond floats, more than
    LONGEST_EXPRESSION characters or nesting deeper than 50 give None.
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
_TOKEN = re.compile(rf"\s*(?:[$£€¥]?({_DIGITS})|([-+*/()×÷−]))")


def _to_float(digits: str) -> float:
    return float(digits.replace(",", ""))


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
