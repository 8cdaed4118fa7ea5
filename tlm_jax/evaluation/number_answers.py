"""The number that a text gives as its answer."""

from __future__ import annotations

import re

from tlm_jax.evaluation.answer_regions import regions
from tlm_jax.evaluation.declarations import Declaration, declarations
from tlm_jax.evaluation.number_clauses import (
    LONGEST_LINE,
    SENTENCE_END,
    read_number,
    without_remarks,
)
from tlm_jax.evaluation.number_sentences import DIGIT, begins_with_number, stated
from tlm_jax.evaluation.number_text import plain
from tlm_jax.evaluation.quantities import Quantity


def extract_number(text: str) -> float | None:
    """Returns the number that a text declares, else the last one of a text that declares nothing.

    Thoughts are left out, and of a text that goes on with other questions the first part with an
    answer counts (`answer_regions`). The last declaration that holds a number is taken: a box, what
    follows a marker (`the answer is`, `####`) or stands at once behind a label (`Answer: 18`). If
    none holds one, there is no answer. What is no single number (a range, a time, a list, a term
    with a root) is none, rather than read in part.
    """
    for part in regions(text):
        region = part.text
        found = declarations(region)
        for declared in found:
            value = _declared(declared)
            if value is not None:
                return value
        if any(_binding(declared) for declared in found):
            return None
        last = _last_bare(region)
        if last is not None:
            return last.value
    return None


def _declared(declared: Declaration) -> float | None:
    line = declared.tail if declared.kind in ("box", "tag") else declared.line
    if declared.kind == "box" and _FACTORIAL.search(line):
        return None
    if declared.kind == "hashes" and not begins_with_number(plain(line[:LONGEST_LINE])):
        return None  # a heading
    if declared.kind == "label":
        line = plain(line[:LONGEST_LINE])
        if not begins_with_number(line):
            return None
        sentence = SENTENCE_END.split(line.strip(), maxsplit=1)[0]
        if "=" not in sentence and _CONCLUDES.search(sentence):
            last = _last_in(sentence)
            return last.value if last else None
    if declared.kind == "tag":
        inner = declarations(declared.tail)
        value = next((v for d in inner if (v := _declared(d)) is not None), None)
        if value is not None:
            return value
    if declared.tail.lstrip(" \t:*$").startswith("\n"):
        line = _BULLET.sub("", line)
    return read_number(" ".join(line.split()))


def _binding(declared: Declaration) -> bool:
    """Whether a declaration without a number means that there is no answer."""
    if declared.kind == "hashes":
        return not re.match(r"[ \t]*[A-Za-z*]", declared.tail)
    return declared.kind != "label"


def _last_bare(text: str) -> Quantity | None:
    """Returns the last quantity of a text without declarations, remarks and headings left out."""
    remark: Quantity | None = None
    for line in reversed(text.split("\n")):
        if not DIGIT.search(line):
            continue
        for piece in _pieces(line):
            line = plain(piece)
            cut = _CHECK.search(line)
            found = _last_in(line[: cut.start()] if cut else line)
            if found is not None and not _IN_BRACKETS.fullmatch(line):
                return found
            remark = remark or _last_in(line)
    return remark


def _pieces(line: str) -> list[str]:
    """Returns parts of a long line, the last first, so that one is read at a time."""
    if len(line) <= LONGEST_LINE:
        return [line]
    starts = range(0, len(line), LONGEST_LINE)
    return [line[start : start + LONGEST_LINE] for start in reversed(starts)]


def _last_in(line: str) -> Quantity | None:
    return stated(_HEADING.sub("", without_remarks(line)))


_FACTORIAL = re.compile(r"[0-9)]\s*!")
_BULLET = re.compile(r"^[ \t]*[-*][ \t]+")
_CONCLUDES = re.compile(
    r"\b(?:makes?|is|are|equals?|gives?|leaves?|totals?|has|have|becomes?|yields?)\b", re.IGNORECASE
)
_IN_BRACKETS = re.compile(r"\s*\([^()]*[A-Za-z]{2}[^()]*\)\.?\s*")
_CHECK = re.compile(
    r"(?<![A-Za-z])(?:double-?check|check(?:ing)?|verif(?:y|ication)|to verify|proof|note|p\.?s\.?)"
    r"(?:[ ]that)?\b",
    re.IGNORECASE,
)
_HEADING = re.compile(
    r"^[ \t>#*_-]{0,8}(?:step|part|case|line|method|option|example)[ ]?#?[0-9]{1,3}\b[.:)]?"
    r"|^[ \t>#*_-]{0,8}[0-9]{1,3}[.)][ ](?=[\"'(*$\\]{0,4}[A-Za-z])",
    re.IGNORECASE,
)
