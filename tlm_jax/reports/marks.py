"""Marks the extracted answer where it stands in a model's text."""

from __future__ import annotations

import re
from collections.abc import Iterator

from markupsafe import Markup, escape

from tlm_jax.evaluation.extraction import after_marker
from tlm_jax.evaluation.numbers import close
from tlm_jax.evaluation.quantities import find_numbers
from tlm_jax.reports.templating import printable

Span = tuple[int, int]


def marked_answer(text: str, extracted: str | None) -> Markup:
    """Returns `text`, escaped, with the place of the extracted answer in a <mark> element.

    The answer stands in its normal form in `extracted` ('1000', 'yes', 'B') and as the model wrote
    it in the text ('$1,000', 'True', '(b)'). As in extraction, the first fitting place after the
    last marker counts, or the last one of a text without marker. An answer that was calculated
    (`48 / 2`) stands nowhere: then the line after the marker is marked.
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
    marked = after_marker(text)
    start = 0 if marked is None else len(text) - len(marked)
    for places in (*_equal(text, start, extracted), _literal(text, start, extracted)):
        spans = list(places)
        if spans:
            return spans[0 if marked is not None else -1]
    if marked is None or not marked.strip():
        return None
    start += len(marked) - len(marked.lstrip())
    return start, start + len(marked.strip().split("\n")[0])


def _literal(text: str, start: int, extracted: str) -> Iterator[Span]:
    # Not inside a word or a longer number; a letter answer must stand as a capital or in brackets.
    if len(extracted) == 1 and extracted.isalpha():
        letter = re.escape(extracted)
        pattern = rf"\((?i:{letter})\)|(?<![\w'])(?:{letter}|(?i:{letter})(?=[.):]))(?![\w'])"
    else:
        pattern = rf"(?<![\w.,])(?i:{re.escape(extracted)})(?![\w]|[.,]\d)"
    return (match.span() for match in re.compile(pattern).finditer(text, start))


def _equal(text: str, start: int, extracted: str) -> Iterator[Iterator[Span]]:
    numbers = find_numbers(extracted)
    if len(numbers) == 1:
        yield (
            match.span()
            for match in _NUMBER.finditer(text, start)
            if any(close(value, numbers[0]) for value in find_numbers(match.group()))
        )
    if extracted in _TRUTH_WORDS:
        yield (match.span() for match in _TRUTH_WORDS[extracted].finditer(text, start))


_NUMBER = re.compile(
    r"(?<![\w.,])[-−]?[$£€¥]?[-−]?(?:\d+(?:,\d+)*(?:\.\d+)?|\.\d+)"
    r"(?:[eE][-+]?\d+)?(?:(?: \d+)?/\d+)?"
)
_TRUTH_WORDS = {
    "yes": re.compile(r"\b(?:yes|true|correct)\b", re.IGNORECASE),
    "no": re.compile(r"\b(?:no|false|not\s+(?:true|correct))\b", re.IGNORECASE),
}
