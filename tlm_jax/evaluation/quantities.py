"""Quantities in free text, read as people write them; the text is set plainly first."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import NamedTuple

from tlm_jax.evaluation.number_text import plain


class Quantity(NamedTuple):
    """A quantity in a text.

    Attributes:
      value: None where it is no single finite number: a time, a date, a range, a list, 1e999, 2/0.
      start: of its first character in the plain text.
      end: behind its last.
    """

    value: float | None
    start: int
    end: int


def find_numbers(text: str) -> list[float]:
    """Returns the numbers of a text in order.

    Read as one number: groups of three digits (1,000; 1 000; 1.234.567; 12,34,567), a decimal
    comma (3,4; 1.234,56), signs of any kind (-3, −3, –3, $-3, -$3, minus 3), decimals (.5), powers
    and scientific notation (1e3, 3 × 10^5), fractions and mixed numbers (3/4, 1 1/2, 2½), LaTeX's
    of these, and words of size behind (1.5 million, $5k). A per cent sign or a unit is passed
    over: 50% is 50. Times, dates, ranges, lists and towers of powers (3:30, 2024-05-12, 10-15,
    1,2,3, 9^9^9) are no numbers. Only ASCII digits and their full-width forms are digits, and one
    right behind a letter (`CO2`) belongs to a name. A hyphen right behind a digit or a letter is no
    sign: `16-3` has 16 and 3.
    """
    return [found.value for found in quantities(plain(text)) if found.value is not None]


def quantities(text: str) -> Iterator[Quantity]:
    """Yields the quantities of a plain text in order."""
    place = 0
    while match := _QUANTITY.search(text, place):
        ranges = _is_range(match)
        place = match.end("dash") if ranges else match.end()
        yield Quantity(None if ranges else _value(match), match.start(), place)


def _value(match: re.Match[str]) -> float | None:
    if match["none"]:
        return None
    value = _single(match["number"])
    if value is None:
        return None
    try:
        if match["power"]:
            value = _power(value, int(match["power"]))
        if match["over"]:
            value += float(match["over"]) / float(match["under_mixed"])
        elif match["half"]:
            value += 0.5
        elif match["under"]:
            value /= _single(match["under"]) or math.nan
        if match["ten"]:
            value *= _power(10.0, int(match["ten"]))
    except (OverflowError, ZeroDivisionError):
        return None
    value *= _SIZES[_size(match)]
    if match["minus"] or match["inner"]:
        value = -value
    return value if math.isfinite(value) else None


def _size(match: re.Match[str]) -> str:
    """Returns the word of size; of `5m` and `5b` the letters are metres and a name's, say."""
    short = match["short"] or ""
    if short in ("m", "b") and not match["currency"]:
        return ""
    return (match["size"] or short).lower()


def _is_range(match: re.Match[str]) -> bool:
    """Whether a number and one behind a dash are the ends of a range, as in 10-15 (not 16-3)."""
    if not match["dash"] or match["minus"]:
        return False
    low, high = _single(match["number"]), _single(match["dash"])
    return low is not None and high is not None and low < high


def _single(digits: str) -> float | None:
    """Returns the value of digits, grouped or not."""
    text = re.sub(r"[ '_]", "", digits)
    comma, point = text.rfind(","), text.rfind(".")
    if comma >= 0 and point >= 0:
        text = text.replace(",", "") if point > comma else text.replace(".", "").replace(",", ".")
    elif comma >= 0:
        grouped = _GROUPED_BY_COMMAS.fullmatch(text)
        text = text.replace(",", "" if grouped else ".")
    elif text.count(".") > 1:
        text = text.replace(".", "")
    value = float(text)
    return value if math.isfinite(value) else None


def _power(base: float, exponent: int) -> float:
    if abs(exponent) > 400:
        raise OverflowError
    return base**exponent


_SIZES = {
    "": 1.0,
    "hundred": 1e2,
    "thousand": 1e3,
    "k": 1e3,
    "million": 1e6,
    "m": 1e6,
    "mn": 1e6,
    "billion": 1e9,
    "b": 1e9,
    "bn": 1e9,
    "trillion": 1e12,
}
_GROUPED_BY_COMMAS = re.compile(r"[1-9][0-9]{0,2}(?:,[0-9]{3})+|[1-9][0-9]?(?:,[0-9]{2})+,[0-9]{3}")
_E = r"(?:[eE][-+]?[0-9]+(?![0-9A-Za-z]))?"
_PLAIN = r"(?:[0-9]+(?:\.[0-9]+)?|(?<![0-9A-Za-z])\.[0-9]+)"
_NUMBER = (
    r"(?:[1-9][0-9]{0,2}(?:,[0-9]{3})+(?:\.[0-9]+)?(?![0-9]|,[0-9])"
    r"|[1-9][0-9]?(?:,[0-9]{2})+,[0-9]{3}(?:\.[0-9]+)?(?![0-9]|,[0-9])"
    r"|[1-9][0-9]{0,2}(?:['_][0-9]{3})+(?:[.][0-9]+)?(?![0-9])"
    r"|[1-9][0-9]{0,2}(?:[ ][0-9]{3})+(?:[.,][0-9]+)?(?![0-9/]|[ ]?/[ ]?[0-9])"
    r"|[1-9][0-9]{0,2}(?:\.[0-9]{3})+,[0-9]+(?![0-9]|[,.][0-9])"
    r"|[1-9][0-9]{0,2}(?:\.[0-9]{3}){2,}(?![0-9]|[,.][0-9])"
    r"|(?<![(\[{])[0-9]+,[0-9]+(?![0-9]|[,.][0-9])"
    rf"|{_PLAIN}{_E})"
)
_MONTH = "jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec"
_NO_NUMBER = (
    r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?![0-9])"  # dates
    r"|[0-9]+(?:/[0-9]+){2,}"
    rf"|[0-9]{{1,2}}(?:st|nd|rd|th)?[ ](?:of[ ])?(?:{_MONTH})[a-z]{{0,6}}\.?,?"
    r"[ ][0-9]{4}(?![0-9])"
    r"|[0-9]+'[ ]?[0-9]{1,2}(?![0-9])|[0-9]+[ ]?h[ ]?[0-9]+"  # feet and inches, hours and minutes
    r"|[0-9]+[ ]?(?:\.{2,3}|…)[ ]?[0-9]+"
    rf"|\b(?:{_MONTH})[a-z]{{0,6}}\.?[ ][0-9]{{1,2}}(?:st|nd|rd|th)?,?[ ][0-9]{{4}}(?![0-9])"
    r"|[0-9]+(?:\.[0-9]+)?(?::[0-9]+(?:\.[0-9]+)?)+|[0-9]+[ ]:[ ][0-9]+"  # times and ratios
    r"|[0-9]+(?:,[0-9]+){2,}(?![0-9])|(?<=[(\[{])[0-9]+,[0-9]+(?=[)\]}])"  # lists
    r"|[0-9]+(?:\.[0-9]+){2,}"  # versions, days
    r"|[0-9]+(?:\^-?[0-9]+){2,}"  # towers of powers
    r"|\bbetween[ ][$£€¥]?[0-9.,]{1,20}[ ]and[ ][$£€¥]?[0-9.,]{0,20}[0-9]"
)
_GROUPS_FIRST = (
    r"(?![1-9][0-9]{0,2}(?:,[0-9]{3})+(?:\.[0-9]+)?(?![0-9]|,[0-9])"
    r"|[1-9][0-9]?(?:,[0-9]{2})+,[0-9]{3}(?![0-9]|,[0-9])"
    r"|[1-9][0-9]{0,2}(?:\.[0-9]{3})+,[0-9]+(?![0-9]|[,.][0-9])"
    r"|[1-9][0-9]{0,2}(?:\.[0-9]{3}){2,}(?![0-9]|[,.][0-9]))"
)
_CURRENCY = r"(?:(?:us|c|a|nz|hk|s)?[$£€¥₹]|\b(?:usd|eur|gbp|inr|rs)\.?)"
_QUANTITY = re.compile(
    # A digit behind a letter or an underscore belongs to a name, but behind a currency's.
    rf"(?P<minus>(?<![0-9A-Za-z)\]}}])-|\b(?:minus|negative)[ ])?"
    rf"(?:(?P<currency>{_CURRENCY})[ ]?(?P<inner>-)?)?"
    r"(?:(?<![A-Za-z_])|(?<=[Uu][Ss][Dd])|(?<=[Ee][Uu][Rr])|(?<=[Gg][Bb][Pp])|(?<=[Rr][Ss]))"
    rf"(?:{_GROUPS_FIRST}(?P<none>{_NO_NUMBER})|(?P<number>{_NUMBER})"
    r"(?:\^(?P<power>-?[0-9]{1,4})(?![0-9^])"
    r"|[ ](?:and[ ])?(?P<over>[0-9]{1,9})/(?P<under_mixed>[0-9]{1,9})(?![0-9/])"
    r"|[ ]and[ ]a[ ](?P<half>half)\b"
    rf"|[ ]?/[ ]?(?P<under>{_PLAIN})(?![0-9/]))?"
    r"(?:[ ]{0,2}[×x*·][ ]{0,2}10\^\(?(?P<ten>-?[0-9]{1,4})\)?(?![0-9]))?"
    rf"(?=-(?P<dash>{_PLAIN})(?![0-9-]))?"
    r"(?:[ ]?(?P<size>hundred|thousand|million|billion|trillion)s?\b"
    r"|(?<=[0-9])(?P<short>k|bn|mn|m|b)\b)?)",
    re.IGNORECASE,
)
