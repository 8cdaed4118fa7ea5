"""Grades mathematics by meaning: 1/2, 0.5 and \\frac12 are one answer."""

from __future__ import annotations

import atexit
import math
import re

from tlm_jax.data.official.math import last_boxed
from tlm_jax.evaluation.answer_regions import regions
from tlm_jax.evaluation.declarations import declarations
from tlm_jax.evaluation.extraction import after_marker, extract_text
from tlm_jax.evaluation.rules.math_forms import (
    TEXT_COMMAND,
    bases_differ,
    exactly,
    letters,
    units_differ,
    without_label,
    without_per_cent,
)
from tlm_jax.evaluation.rules.math_process import MathProcess
from tlm_jax.evaluation.rules.rule import Options, Rule, Undecided

LONGEST_ANSWER = 2_000
"""Characters; what is longer is no answer, and would keep the comparison busy to its limit."""


def _math(text: str, options: Options = None) -> str | None:
    for region in regions(text):
        found = _in_region(region.text)
        if found is not None:
            return found
    return None


def _in_region(text: str) -> str | None:
    found = declarations(text)
    marked = next((d for d in found if d.kind in ("marker", "hashes", "tag")), None)
    if marked is not None and _is_boxed(text, marked.start):
        return _undressed(TEXT_COMMAND.sub("", last_boxed(text) or "")) or None
    if marked is None and found and found[0].kind == "label":
        marked = found[0]
    if marked is None:
        behind = text
    else:  # `the answer is ..., so that we get the answer: \\boxed{3}` is one declaration
        behind = text[marked.start :] if marked.kind == "marker" else marked.tail
    answer = _boxes(behind)
    if answer is None:
        answer = extract_text(text)
        if answer is not None and marked is None:
            answer = _end_of_sentence(answer)
        elif answer is None or not _BEGINS_AN_ANSWER.match(answer):
            # Such as `Checking the answer is necessary, because ...`.
            answer = last_boxed(text) or answer
        else:
            answer = _BEFORE_PROSE.sub(r"\1", answer).removesuffix("?")
    return None if answer is None else _undressed(answer) or None


def _is_boxed(text: str, place: int) -> bool:
    """Whether a place is within the last box (`\\boxed{\\text{The answer is } 7}`)."""
    content = last_boxed(text)
    start = text.rfind(content) if content else -1
    return content is not None and 0 <= start <= place < start + len(content)


def _boxes(text: str) -> str | None:
    """Returns the content of the last box; of boxes that only commas or `and` divide, a list."""
    contents: list[str] = []
    for piece in reversed(text.split("\\boxed")[1:][-_MOST_BOXES:]):
        content = last_boxed(f"\\boxed{piece}")
        if content is None:
            break
        behind = piece.partition(f"{{{content}}}")[2]
        if contents and not _BETWEEN_BOXES.fullmatch(behind):
            break
        contents.append(content)
    if len(contents) < 2 or len(set(contents)) == 1:
        return last_boxed(text)
    return ", ".join(reversed(contents))


def _undressed(answer: str) -> str:
    """Returns an answer without the marks that only set it, such as `$`, `**` or `\\[`."""
    answer = answer.strip().strip("$").strip().removesuffix(".")
    for before, behind in (("**", "**"), ("\\[", "\\]"), ("\\(", "\\)"), ("\\text{$", "$}")):
        if answer.startswith(before) and answer.endswith(behind):
            answer = answer[len(before) : len(answer) - len(behind)].strip()
    return answer


def _end_of_sentence(line: str) -> str:
    """Returns the last formula of a line of prose, else what follows its last `:`, `=` or verb."""
    formulas = line.split("$")
    if len(formulas) > 2:
        return formulas[-2 if len(formulas) % 2 else -3]
    starts = [match.end() for match in _BEFORE_AN_ANSWER.finditer(line)]
    return line[starts[-1] :] if starts else line


def _gold(gold: str, options: Options) -> str | None:
    return _math(gold) if after_marker(gold) or last_boxed(gold) else _undressed(gold) or None


def _same_mathematics(extracted: str, gold: str) -> bool:
    """Whether two answers mean the same.

    Equal text does, white space aside. Words are compared as words, whatever their case: as
    mathematics, `east` would be a product of four letters, and `seat` the same product.

    Raises:
      Undecided: if the comparison was longer than its time or memory allows.
    """
    if "".join(extracted.split()) == "".join(gold.split()):
        return True
    if _PLAIN_NUMBER.fullmatch(extracted) and _PLAIN_NUMBER.fullmatch(gold):
        # The sixth decimal is not noise here: 1.000001 is not 1.
        return math.isclose(float(extracted), float(gold), rel_tol=5e-7, abs_tol=1e-9)
    extracted = without_label(extracted) if without_label(gold) == gold else extracted
    gold_words, gold_letters = _words(gold), letters(gold)
    if gold_words is not None:
        return _words(extracted) == gold_words
    if gold_letters is not None and (found := letters(extracted)) is not None:
        return found == gold_letters
    if _DOTS.search(extracted) or _DOTS.search(gold):
        return False  # lists that are not written out are the same only as text
    if units_differ(extracted, gold) or bases_differ(extracted, gold):
        return False
    if max(len(extracted), len(gold)) > LONGEST_ANSWER:
        raise Undecided(f"answer longer than {LONGEST_ANSWER:,} characters")
    if _process.same(exactly(gold), exactly(extracted)):
        return True
    bare, bare_gold = without_per_cent(extracted), without_per_cent(gold)
    if (bare, bare_gold) == (extracted, gold):
        return False
    return _process.same(exactly(bare_gold), exactly(bare))


def _words(answer: str) -> str | None:
    """Returns an answer that consists of words, in a plain form, or None if it is mathematics."""
    if len(answer) > LONGEST_ANSWER:
        return None
    plain = TEXT_COMMAND.sub(lambda match: match[1], answer)
    plain = " ".join(plain.removesuffix(".").lower().split()).strip("() ")
    return plain if _WORDS.fullmatch(plain) else None


_WORDS = re.compile(r"(?=.*[a-z]{3})[a-z][a-z' -]*")
_PLAIN_NUMBER = re.compile(r"-?[0-9]{1,300}(?:\.[0-9]{1,300})?")
_BEFORE_AN_ANSWER = re.compile(r"[:=]|\b(?:is|are)\b")
_BEGINS_AN_ANSWER = re.compile(r"[^A-Za-z]|[A-Za-z](?=[^A-Za-z\s]|\s*(?:$|[-+*/^=<>]))")
_BEFORE_PROSE = re.compile(r"^(\$[^$]+\$)[^$0-9\\]*$")
_MOST_BOXES = 20
_BETWEEN_BOXES = re.compile(r"[\s$,.;]*(?:and|or)?[\s$,;]*")
_DOTS = re.compile(r"\\[lcd]?dots|\.\.\.|…")
_process = MathProcess()
atexit.register(_process.close)

MATH = Rule(
    name="math",
    summary="last box behind the last marker, else the text there; equal by math-verify",
    extract=_math,
    read_gold=_gold,
    same=_same_mathematics,
    source="math-verify, in a process of its own with a limit of 5 seconds of work",
    faults=(
        "50\\% equals both 50 and 0.5; 1,2,3 is a set, so its order does not count",
        "a unit or a degree sign may be missing, and 10_2 equals 10",
    ),
)
