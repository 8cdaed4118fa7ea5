"""Grades mathematics by meaning: 1/2, 0.5 and \\frac12 are one answer."""

from __future__ import annotations

import atexit
import math
import re

from tlm_jax.data.official.math import last_boxed
from tlm_jax.evaluation.answer_regions import regions
from tlm_jax.evaluation.declarations import declarations
from tlm_jax.evaluation.extraction import after_marker, extract_text
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


def _exactly(answer: str) -> str:
    """Returns an answer with mixed numbers, repeating decimals and e as math-verify reads them."""
    answer = _MIXED.sub(r"\1\\frac{\2}{\3}", _UPRIGHT_E.sub("e", answer))
    return _REPEATING.sub(_fraction, answer)


def _fraction(match: re.Match[str]) -> str:
    whole, fixed, again = match["whole"], match["fixed"], match["again"]
    under = 10 ** len(fixed) * (10 ** len(again) - 1)
    over = int(whole + fixed + again) - int(whole + fixed)
    return f"\\frac{{{over}}}{{{under}}}"


def _units_differ(one: str, other: str) -> bool:
    """Whether both name a unit behind their number, and not the same one."""
    units = [
        match[1].strip(" .").lower().removesuffix("s") if match else ""
        for match in (_UNIT.search(one), _UNIT.search(other))
    ]
    return all(units) and units[0] != units[1]


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
    gold_words = _words(gold)
    if gold_words is not None:
        return _words(extracted) == gold_words
    if _DOTS.search(extracted) or _DOTS.search(gold) or _units_differ(extracted, gold):
        return False  # lists that are not written out are the same only as text
    if _bases_differ(extracted, gold):
        return False
    if max(len(extracted), len(gold)) > LONGEST_ANSWER:
        raise Undecided(f"answer longer than {LONGEST_ANSWER:,} characters")
    if _process.same(_exactly(gold), _exactly(extracted)):
        return True
    bare, bare_gold = _PER_CENT.sub("", extracted), _PER_CENT.sub("", gold)
    one_is_per_cent = (bare != extracted) != (bare_gold != gold)
    return one_is_per_cent and _process.same(_exactly(bare_gold), _exactly(bare))


def _bases_differ(one: str, other: str) -> bool:
    """Whether both are numbers in a base that they name, and not in the same one."""
    bases = [match[1] if match else "" for match in (_BASE.search(one), _BASE.search(other))]
    return all(bases) and bases[0] != bases[1]


def _words(answer: str) -> str | None:
    """Returns an answer that consists of words, in a plain form, or None if it is mathematics."""
    if len(answer) > LONGEST_ANSWER:
        return None
    plain = _TEXT_COMMAND.sub(lambda match: match[1], answer)
    plain = " ".join(plain.removesuffix(".").lower().split()).strip("() ")
    return plain if _WORDS.fullmatch(plain) else None


_TEXT_COMMAND = re.compile(r"\\(?:text|textbf|textit|mathrm|mbox)\s*\{([^{}]*)\}")
_WORDS = re.compile(r"(?=.*[a-z]{3})[a-z][a-z' -]*")
_PLAIN_NUMBER = re.compile(r"-?[0-9]{1,300}(?:\.[0-9]{1,300})?")
_BEFORE_AN_ANSWER = re.compile(r"[:=]|\b(?:is|are)\b")
_BEGINS_AN_ANSWER = re.compile(r"[^A-Za-z]|[A-Za-z](?=[^A-Za-z\s]|\s*(?:$|[-+*/^=<>]))")
_BEFORE_PROSE = re.compile(r"^(\$[^$]+\$)[^$0-9\\]*$")
_MOST_BOXES = 20
_BETWEEN_BOXES = re.compile(r"[\s$,.;]*(?:and|or)?[\s$,;]*")
_DOTS = re.compile(r"\\[lcd]?dots|\.\.\.|…")
_UNIT = re.compile(r"(?<=[0-9}])\s*\\(?:text|mathrm|mbox)\s*\{\s*([A-Za-z ]+)\.?\s*\}\s*$")
_PER_CENT = re.compile(r"\s*\\?%\s*$")
_BASE = re.compile(r"(?<=[0-9A-Z}])_\s*\{?\s*([0-9]+)\s*\}?\s*$")
_MIXED = re.compile(r"(?<![0-9/.])([0-9]+)\s+([0-9]+)/([0-9]+)(?![0-9/])")
_UPRIGHT_E = re.compile(r"\\mathrm\s*\{\s*e\s*\}")
_REPEATING = re.compile(
    r"(?<![0-9])(?P<whole>[0-9]{1,9})\.(?P<fixed>[0-9]{0,9})\\(?:overline|bar)\s*\{(?P<again>[0-9]{1,9})\}"
)
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
