"""The answer in a model's output, by the strict rules: one for each kind of question."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Sequence

from tlm_jax.data.official_math import last_boxed
from tlm_jax.data.records import LETTERS
from tlm_jax.evaluation.numbers import LONGEST_EXPRESSION, evaluate, first_number, last_number


def extract_number(text: str) -> float | None:
    """Returns the number after the last marker, or the last number of a text without a marker.

    Behind a marker, what follows the last `=` on that line counts, and an expression such as
    `48 / 2` is calculated.
    """
    marked = after_marker(text)
    if marked is None:
        return last_number(text)
    line = next((line for line in marked.split("\n") if line.strip(" :*$")), "")
    right_side = line.rpartition("=")[2]
    for candidate in dict.fromkeys((right_side, line, marked)):
        # Longer expressions are none to `evaluate`, and a hostile one need not be read to its end.
        expression = _EXPRESSION_START.match(candidate.lstrip()[: 2 * LONGEST_EXPRESSION])
        value = evaluate(expression.group(1).rstrip(".,")) if expression else None
        if value is not None:
            return value
        value = first_number(candidate)
        if value is not None:
            return value
    return None


def extract_choice(text: str, options: Sequence[str]) -> str | None:
    """Returns the letter of the option that a text chooses.

    In this order: a letter in parentheses (behind a marker the first, else the last); a letter at
    the start, `C`, `C.`, `C) bank`, `option C`; the text of exactly one option. A letter beyond the
    options is no answer.
    """
    letters = LETTERS[: len(options)] if options else LETTERS
    marked = after_marker(text)
    segment = text if marked is None else marked.strip().split("\n")[0]
    in_parentheses = re.findall(r"\(([A-Za-z])\)", segment)
    if in_parentheses:
        letter = in_parentheses[-1 if marked is None else 0].upper()
        return letter if letter in letters else None
    if marked is None:
        lines = [line for line in text.split("\n") if line.strip()]
        segment = lines[-1] if lines else ""
    bare = _BARE_LETTER.match(segment)
    if bare:
        letter = (bare["alone"] or bare["large"]).upper()
        return letter if letter in letters else None
    said = _plain(segment)
    matching = [LETTERS[i] for i, option in enumerate(options) if _plain(option) == said]
    return matching[0] if len(matching) == 1 else None


def extract_boolean(text: str) -> str | None:
    """Returns 'yes' or 'no'; `true` and `correct` mean yes, `false` and `not ...` no.

    Behind a marker the first such word counts; without one, the text must begin or end with it.
    """
    marked = after_marker(text)
    if marked is not None:
        match = _TRUTH.search(marked)
    else:
        plain = text.strip()
        last = deque(_TRUTH.finditer(plain), maxlen=1)
        match = last[0] if last else None
        if match is not None and _WORD_CHARACTER.search(plain, match.end()):
            first = _WORD_CHARACTER.search(plain)
            assert first is not None
            match = _TRUTH.match(plain, first.start())
    if match is None:
        return None
    affirmed = match["word"].lower() in ("yes", "true", "correct")
    return "yes" if affirmed != bool(match["negated"]) else "no"


def extract_text(text: str) -> str | None:
    """Returns the line after the last marker, else the last box, else the last line.

    White space at both ends and one final full stop are dropped.
    """
    marked = after_marker(text)
    if marked is None:
        boxed = last_boxed(text)
        lines = [line for line in text.split("\n") if line.strip()]
        found = boxed if boxed is not None else lines[-1] if lines else ""
    else:
        found = marked.strip().split("\n")[0]
    return found.strip().removesuffix(".").strip() or None


def after_marker(text: str) -> str | None:
    """Returns what follows the last `the answer is` or `####`, or None where there is neither."""
    parts = _MARKER.split(text)
    return parts[-1] if len(parts) > 1 else None


_MARKER = re.compile(r"the answer is[ \t]*:?|####", re.IGNORECASE)
_OPERAND = r"(?:[-−(]\s*)*[$£€¥]?[0-9.][0-9.,]*(?:\s*\))*"
_EXPRESSION_START = re.compile(rf"[\s*:$£€¥]*({_OPERAND}(?:\s*[-+*/×÷−]\s*{_OPERAND})+)")
_BARE_LETTER = re.compile(
    r"\W*(?:(?:option|choice|answer)\W+)?"
    r"(?:(?P<alone>[A-Za-z])\W*$|(?P<large>[A-Z])(?:[).:]|$))",
    re.IGNORECASE,
)
_WORD_CHARACTER = re.compile(r"\w")
_TRUTH = re.compile(r"\b(?P<negated>not\s+)?(?P<word>yes|no|true|false|correct)\b", re.IGNORECASE)


def _plain(text: str) -> str:
    return re.sub(r"[\W_]+", " ", text).strip().lower()
