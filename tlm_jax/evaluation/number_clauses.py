"""Numbers of a clause: what it gives as its value, whatever stands around it."""

from __future__ import annotations

import re

from tlm_jax.evaluation.number_sentences import DIGIT, main_clause, result_of_subjects
from tlm_jax.evaluation.number_text import plain
from tlm_jax.evaluation.numbers import close, evaluate
from tlm_jax.evaluation.quantities import Quantity, quantities

LONGEST_LINE = 2_000
"""Characters of a line that are read."""


def read_number(line: str) -> float | None:
    """Returns the number that a line of an answer gives, without what explains it.

    `x = 3 + 4 = 7 apples` is 7, `48 / 2 dollars` is 24, `42 (not 43)` and `not 43 but 42` are 42.
    """
    clause = without_remarks(plain(line[:LONGEST_LINE])).strip(" \t:*$_>")
    clause = SENTENCE_END.split(_SPACED_SIGN.sub("-", clause), maxsplit=1)[0]
    clause = _negations_out(clause)
    if _ASSIGNMENTS.search(clause):
        return None
    described = _DESCRIBED.search(clause)
    if described and "=" not in clause:  # `the sum of 9 and 9, which is 18`
        named = _NAMED_AT_LAST.search(clause, described.end())
        return _of_clause(clause[named.end() :]) if named else None
    rounded = [match.end() for match in _ROUNDED.finditer(clause)]
    clause = main_clause(clause[rounded[-1] :] if rounded else clause)
    compared = _COMPARED.match(clause)
    if compared:  # `2 more than 16, so 18`
        return _of_clause(clause[compared.end() :])
    first = next(quantities(clause), None)
    if first is not None:
        cut = _EXPLANATION.search(clause, first.end)
        whole, clause = clause, clause[: cut.start()] if cut else clause
        value = _of_clause(clause)
        if value is None and cut and _BETWEEN.match(clause.strip()):
            value = _of_clause(_CONCLUSION.sub("", whole[cut.start() :]))
        return value
    return None


def whole_number(text: str) -> float | None:
    """Returns the value of a text that is a number or an expression and nothing else."""
    line = plain(text).strip().strip("$").removesuffix("%").strip()
    found = next(quantities(line), None)
    if found is not None and (found.start, found.end) == (0, len(line)):
        return found.value
    return evaluate(line) if found is not None and found.value is not None else None


def _of_clause(clause: str) -> float | None:
    sides = [side for side in _EQUALS.split(clause) if any(True for _ in quantities(side))]
    if not sides:
        return None
    side = sides[-1].strip(" \t:*$_")
    value = _calculated(side)
    if value is not None:
        return value
    found = [q for _, q in zip(range(3), quantities(side))]
    first = found[0]
    if _UNREAD_BEFORE.search(side[: first.start]) or _UNREAD_BEHIND.match(side[first.end :]):
        left, approximately, right = clause.rpartition("≈")
        return _of_clause(right) if approximately and left else None
    if len(found) > 1:
        return _of_several(side, found)
    return first.value


def _of_several(side: str, found: list[Quantity]) -> float | None:
    """Returns the first of several numbers, unless they are a list or one quantity together."""
    first, second = found[:2]
    result = result_of_subjects(side, found)
    if result is not None:
        return found[result].value
    between = side[first.end : second.start].strip()
    if _LIST.fullmatch(between):
        values = [q.value for q in found]
        same = all(
            v is not None and first.value is not None and close(v, first.value) for v in values
        )
        return first.value if same else None
    behind = side[second.end :].lstrip()
    if _DOLLARS.fullmatch(between) and re.match(r"cents?\b", behind):
        if first.value is None or second.value is None:
            return None
        return first.value + second.value / 100
    if _LARGE_UNIT.fullmatch(between) and _SMALL_UNIT.match(behind):
        return None
    if re.match(r"[-+*/×÷·^]", between):
        return None  # a calculation that was not understood
    return first.value


def _calculated(side: str) -> float | None:
    """Returns the value of a calculation at the start of a text; None where there is none."""
    pieces: list[str] = []
    numbers = place = 0
    last = 0
    while place < len(side):
        found = next(quantities(side[place : place + 60]), None)
        operator = _OPERATOR.match(side, place)
        if (
            found is not None
            and found.start == 0
            and not (operator and numbers and pieces[-1] not in "+-*/(")
        ):
            if found.value is None:
                return None
            if pieces and (pieces[-1] == ")" or pieces[-1] not in "+-*/("):
                break
            pieces.append(f"({found.value!r})")
            numbers += 1
            place += found.end
            last = place
            unit = _UNIT_INSIDE.match(side, place)
            place = unit.end() if unit else place
        elif operator:
            sign = operator[0].strip().lower()
            pieces.append(_SIGNS.get(sign, sign))
            place = operator.end()
            if sign == ")":
                last = place
        elif side[place].isspace():
            place += 1
        else:
            break
    while pieces and pieces[-1] in "+-*/(":
        pieces.pop()
    if numbers < 2 or _UNREAD_BEHIND.match(side[last:]):
        return None
    values = [piece for piece in pieces if piece != ")" and piece not in "+-*/("]
    if pieces[1:-1] == ["-"] and float(values[0][1:-1]) < float(values[1][1:-1]):
        return None  # 10 - 15 are the ends of a range
    expression = "".join(pieces)
    while expression.endswith(")") and expression.count(")") > expression.count("("):
        expression = expression[:-1]
    return evaluate(expression)


def without_remarks(line: str) -> str:
    """Returns a line without brackets behind a number that hold words or a calculation."""
    kept: list[str] = []
    opened: list[int] = []
    for sign in line:
        kept.append(sign)
        if sign in "([":
            opened.append(len(kept) - 1)
        elif sign in ")]" and opened:
            start = opened.pop()
            inside = "".join(kept[start:])
            before = "".join(kept[:start])
            behind_a_number = DIGIT.search(before) is not None
            separated = start > 0 and kept[start - 1] == " " and _MULTIPLIED.search(before) is None
            calculated = separated and _CALCULATION.search(inside)
            if behind_a_number and (_REMARK.search(inside) or calculated):
                del kept[start:]
    return "".join(kept)


def _negations_out(clause: str) -> str:
    return _NEGATED.sub("", clause)


_SPACED_SIGN = re.compile(r"^-[ ]+(?=[$£€]?[0-9.])")


_DESCRIBED = re.compile(
    r"\b(?:sum|difference|product|quotient|ratio|average|mean)[ ](?:of|between)[ ][$£€]?[0-9]"
    r"|\b(?:twice|double|triple|half(?:[ ]of)?)[ ][$£€]?[0-9]",
    re.IGNORECASE,
)


_ROUNDED = re.compile(
    r"[0-9][^=]{0,40}\bround(?:s|ed|ing)?[ ](?:(?:it|this|that)[ ])?(?:(?:up|down|off)[ ])?to[ ]"
    r"(?=[$£€]?[0-9.,]+(?![ ]?(?:decimal|places?|significant|digits?|d\.?p)))"
)


_COMPARED = re.compile(
    r"[$£€]?[0-9.,]{1,20}[ ](?:[a-z]+[ ])?(?:more|less|fewer|greater|older|younger|longer|shorter)"
    r"(?:[ ][a-z]+)?[ ]than[ ][$£€]?[0-9.,]{0,20}[0-9][^,;=]{0,30},"
    r"[ ](?:so|or|thus|hence|i\.e\.|that[ ]is)[ ]",
    re.IGNORECASE,
)


_NAMED_AT_LAST = re.compile(r"\b(?:which|that)[ ](?:is|equals|makes|gives)\b|,[ ]or\b|≈", re.I)


_MULTIPLIED = re.compile(r"[-+*/×÷·^=(][ ]*$")


_CALCULATION = re.compile(r"[0-9][ ]?[-+*/×÷x·][ ]?[0-9$]")


_REMARK = re.compile(r"[A-Za-z]{2}|=")


_NEGATED = re.compile(
    r"\bnot[ ](?:just[ ]|only[ ])?[$£€]?-?[0-9][0-9.,]{0,20}(?<![.,])[ ]*,?[ ]*(?:but)?", re.I
)


SENTENCE_END = re.compile(
    r"(?:(?<!\brs)(?<!\bno)(?<!approx)(?<!\bca)(?<!\beq)\.|[!?;])(?=[\s\"')*$]|$)|\n", re.IGNORECASE
)


_EXPLANATION = re.compile(
    r",[ ](?=[A-Za-z])|[ ](?:because|since|as|which|where|while|after|assuming|given|leaving|"
    r"remaining|when|if)[ ]",
    re.IGNORECASE,
)


_CONCLUSION = re.compile(r"^[ ,]*(?:so|thus|hence|therefore|exactly|namely|precisely|or)[ ]+", re.I)


_BETWEEN = re.compile(r"(?:between|from|roughly|about)?\b.*", re.IGNORECASE)


_EQUALS = re.compile(r"=>|->|→|⇒|=")


_ASSIGNMENTS = re.compile(r"\b[A-Za-z][ ]?=[^=,]{1,40},[ ]?(?:and[ ])?[A-Za-z][ ]?=")


_OPERATOR = re.compile(
    r"[ ]*(?:[-+*/×÷·()]|x(?=[ ]?[0-9])|(?:times|plus|minus|divided[ ]by|multiplied[ ]by)\b)",
    re.IGNORECASE,
)


_SIGNS = {
    "×": "*",
    "·": "*",
    "x": "*",
    "times": "*",
    "multiplied by": "*",
    "÷": "/",
    "divided by": "/",
    "plus": "+",
    "minus": "-",
}


_UNIT_INSIDE = re.compile(r"[ ]?(?:[A-Za-z]{1,15}|%)[ ]?(?=[-+*/×÷][ ]?[$£€(]?[0-9])")


_UNREAD_BEFORE = re.compile(r"(?:sqrt|√|±|\\pm|\\?log|\\ln|\\sin|\\cos|\\tan)[ ]?[({]{0,2}[ ]?$")


_UNREAD_BEHIND = re.compile(
    r"[ ]?(?:\\(?:sqrt|pi|pm|log|ln|sin|cos|tan|infty|theta)|π|√|∞|±|(?:pi|sqrt)\b)"
    r"|[ ]?\^|[xyzn]\b|[ ]?[*]?[ ]?[xyz](?![A-Za-z])|\)?\("
)


_LIST = re.compile(r"(?:,|and|or|to|&|,[ ]?and|,[ ]?or|and/or|-|–|;|/|±|~)", re.IGNORECASE)


_DOLLARS = re.compile(r"(?:dollars?|euros?)?[ ]?(?:,|and)?", re.IGNORECASE)


_LARGE_UNIT = re.compile(
    r"(?:hours?|hrs?|h|minutes?|mins?|feet|foot|ft|pounds?|lbs?|weeks?|years?|days?|months?)"
    r"[ ]?(?:,|and)?",
    re.IGNORECASE,
)


_SMALL_UNIT = re.compile(
    r"(?:minutes?|mins?|m|seconds?|secs?|s|inch(?:es)?|in|ounces?|oz|days?|hours?|hrs?|months?"
    r"|weeks?)\b",
    re.IGNORECASE,
)
