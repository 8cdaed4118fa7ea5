"""Marks the extracted answer where it stands in a model's text."""

from __future__ import annotations

import re
from collections.abc import Iterator

from markupsafe import Markup, escape

from tlm_jax.evaluation.answer_places import answer_places
from tlm_jax.evaluation.numbers import close
from tlm_jax.evaluation.quantities import find_numbers
from tlm_jax.reports.templating import printable

Span = tuple[int, int]


def marked_answer(text: str, extracted: str | None) -> Markup:
    """Returns `text`, escaped, with the place of the extracted answer in a <mark> element.

    The answer stands in its normal form in `extracted` ('1000', 'yes', 'B') and as the model wrote
    it in the text ('$1,000', 'True', '(b)'). It is marked in the first of the places where the
    rules look (`answer_places`) that holds it. An answer that was calculated (`48 / 2`) stands
    nowhere: then the line of the declaration is marked.
    """
    span = answer_span(text, extracted)
    if span is None:
        return escape(printable(text))
    start, end = span
    parts = (printable(part) for part in (text[:start], text[start:end], text[end:]))
    return Markup("{}<mark>{}</mark>{}").format(*parts)


def answer_span(text: str, extracted: str | None) -> Span | None:
    """Returns where the extracted answer begins and ends in `text`, or None."""
    if not extracted:
        return None
    places = list(answer_places(text))
    for start, end, declared in places:
        for fitting in (
            *_equal(text, start, end, extracted),
            _literal(text, start, end, extracted),
        ):
            spans = list(fitting)
            if spans:
                return spans[0 if declared else -1]
    line = next(((start, end) for start, end, declared in places if declared), None)
    if line is None:  # an official rule's, from where the strict ones do not look
        return next(reversed([*_literal(text, 0, len(text), extracted)]), None)
    start, end = line
    read = text[start:end]
    return start + len(read) - len(read.lstrip()), start + len(read.rstrip())


def _literal(text: str, start: int, end: int, extracted: str) -> Iterator[Span]:
    # Not inside a word or a longer number; a letter answer must stand as a capital or in brackets.
    if len(extracted) == 1 and extracted.isalpha():
        letter = re.escape(extracted)
        pattern = rf"\((?i:{letter})\)|(?<![\w'])(?:{letter}|(?i:{letter})(?=[.):]))(?![\w'])"
    else:
        pattern = rf"(?<![\w.,])(?i:{re.escape(extracted)})(?![\w]|[.,]\d)"
    return (match.span() for match in re.compile(pattern).finditer(text, start, end))


def _equal(text: str, start: int, end: int, extracted: str) -> Iterator[Iterator[Span]]:
    # A text that holds a number somewhere is no number.
    numbers = find_numbers(extracted) if _NUMERIC.fullmatch(extracted) else []
    if len(numbers) == 1:
        yield (
            match.span()
            for match in _NUMBER.finditer(text, start, end)
            if any(close(value, numbers[0]) for value in find_numbers(match.group()))
        )
    if extracted in _TRUTH_WORDS:
        yield (match.span() for match in _TRUTH_WORDS[extracted].finditer(text, start, end))


_NUMERIC = re.compile(r"[-−+$£€¥\d.,/%eE ]+")
_NUMBER = re.compile(
    r"(?<![\w.,])[-−]?[$£€¥]?[-−]?(?:\d+(?:,\d+)*(?:\.\d+)?|\.\d+)"
    r"(?:[eE][-+]?\d+)?(?:(?: \d+)?/\d+)?"
)
_TRUTH_WORDS = {
    "yes": re.compile(r"\b(?:yes|true|correct)\b", re.IGNORECASE),
    "no": re.compile(r"\b(?:no|false|not\s+(?:true|correct))\b", re.IGNORECASE),
}
