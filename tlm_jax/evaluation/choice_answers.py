"""The option that a text chooses."""

from __future__ import annotations

import re
from collections.abc import Sequence

from tlm_jax.data.records import LETTERS
from tlm_jax.evaluation.answer_regions import regions
from tlm_jax.evaluation.declarations import declarations


def extract_choice(text: str, options: Sequence[str]) -> str | None:
    """Returns the letter of the option that a text chooses.

    Thoughts and repeated options are left out; of a text that goes on with other questions the
    first part with an answer counts. The last declaration (`the answer is`, a box, `Answer:`) that
    names an option is taken; if there are some and none does, there is no answer. What names one,
    in this order: a letter in parentheses (behind a declaration the first, else the last); a letter
    at the start, `C`, `C.`, `C) bank`, `C: bank`, `option C`; the text of exactly one option;
    without a declaration also `C is correct`. A letter beyond the options is no answer, and two of
    them (`A or B`) are none.
    """
    letters = LETTERS[: len(options)] if options else LETTERS
    for region in regions(text):
        region = _without_lists(region, options)
        found = declarations(region)
        for declared in found:
            line = declared.tail if declared.kind in ("box", "tag") else declared.line
            letter = _named(line[:_LONGEST_LINE], options, first=True)
            if letter is not None:
                return letter if letter in letters else None
        if any(declared.kind in ("marker", "hashes") for declared in found):
            return None
        letter = _undeclared(region, options)
        if letter is not None:
            return letter if letter in letters else None
    return None


def _undeclared(region: str, options: Sequence[str]) -> str | None:
    in_parentheses = re.findall(r"\(([A-Za-z])\)", region)
    if in_parentheses:
        return in_parentheses[-1].upper()
    lines = [line for line in region.split("\n") if line.strip()]
    letter = _named(lines[-1][:_LONGEST_LINE], options, first=False) if lines else None
    if letter is None:
        called = [*_CALLED_RIGHT.finditer(region[-_LONGEST_LINE:])]
        letter = (called[-1]["before"] or called[-1]["behind"]).upper() if called else None
    return letter


def _named(line: str, options: Sequence[str], *, first: bool) -> str | None:
    """Returns the letter that a line names; it may be beyond the options."""
    line = _set_plainly(line).strip()
    in_parentheses = re.findall(r"\(([A-Za-z])\)", line)
    if in_parentheses:
        several = _SEVERAL_IN_PARENTHESES.search(line) if first else None
        return None if several else in_parentheses[0 if first else -1].upper()
    if _SEVERAL.match(line):
        return None
    bare = _BARE_LETTER.match(line)
    if bare:
        return (bare["alone"] or bare["large"] or bare["followed"]).upper()
    for said in dict.fromkeys((_plain(line), _plain(_CLAUSE_END.split(line, maxsplit=1)[0]))):
        matching = [LETTERS[i] for i, option in enumerate(options) if _plain(option) == said]
        if len(matching) == 1:
            return matching[0]
    return None


def _without_lists(text: str, options: Sequence[str]) -> str:
    """Returns a text without places where the options are listed one after the other from A on."""
    labels = list(_LABEL.finditer(text))
    spans: list[tuple[int, int]] = []
    chain: list[tuple[int, int]] = []
    needed = min(len(options), 3) if options else 3
    for number, match in enumerate(labels):
        behind = labels[number + 1].start() if number + 1 < len(labels) else len(text)
        end = _listed_end(text, match, behind, options, len(chain))
        if end is None or (chain and text[chain[-1][1] : match.start()].strip(_BETWEEN_OPTIONS)):
            if len(chain) >= needed:
                spans.append((chain[0][0], chain[-1][1]))
            chain = []
            end = _listed_end(text, match, behind, options, 0)
        if end is not None:
            chain.append((match.start(), end))
    if len(chain) >= needed:
        spans.append((chain[0][0], chain[-1][1]))
    for start, end in reversed(spans):
        text = f"{text[:start]}\n{text[end:]}"
    return text


def _listed_end(
    text: str, label: re.Match[str], next_label: int, options: Sequence[str], place: int
) -> int | None:
    """Returns where the option ends that a label begins, if it is number `place` of a list."""
    if place >= len(LETTERS) or label["letter"].upper() != LETTERS[place]:
        return None
    if options:
        if place >= len(options):
            return None
        option = options[place].strip()
        said = text[label.end() : label.end() + len(option)]
        return label.end() + len(option) if option and said.lower() == option.lower() else None
    line = text[label.end() : min(next_label, label.end() + 80)].split("\n")[0]
    if not line.strip(_BETWEEN_OPTIONS) or _SENTENCE.search(line):
        return None
    return label.end() + len(line.rstrip())


def _set_plainly(line: str) -> str:
    """Returns a line without LaTeX's and Markdown's marks of type."""
    line = line.translate(_FULL_WIDTH)
    for _ in range(2):
        line = _COMMAND.sub(r" \1 ", line)
    return re.sub(r"\\[()\[\] ,;!]|\\quad|[$*`]", " ", line)


def _plain(text: str) -> str:
    return re.sub(r"[\W_]+", " ", text).strip().lower()


_LONGEST_LINE = 2_000
_FULL_WIDTH = str.maketrans("（）：。", "():.")
_BETWEEN_OPTIONS = " \t\n,;.|/*-"
_COMMAND = re.compile(
    r"\\(?:text|textbf|textit|mathrm|mathbf|mbox|f?box(?:ed)?|operatorname)\s*\{([^{}]{0,400})\}"
)
_LABEL = re.compile(r"(?<![A-Za-z0-9(])(?:\(|(?=[A-Z]))(?P<letter>[A-Za-z])(?:\)|[.:])[ \t]*")
_SENTENCE = re.compile(r"[.!?][ ]\S|\b(?:is|are|was|were|isn't|because|so|therefore|since)\b", re.I)
_CLAUSE_END = re.compile(r"[,;.](?=\s|$)|\s+(?:because|since|as)\s")
_SEVERAL_IN_PARENTHESES = re.compile(
    r"\([A-Za-z]\)[^()]{0,80}?(?:\b(?:or|and)\b|&|/)[^()]{0,20}\([A-Za-z]\)", re.IGNORECASE
)
_SEVERAL = re.compile(
    r"\W*(?:(?:either|both|neither)\W+)?[A-Z]\W{1,3}(?:or|and|nor|&)\W{1,3}[A-Z]\b"
    r"|\W*[A-Z][,/]\s?[A-Z]\b"
)
_BARE_LETTER = re.compile(
    r"\W*(?:(?:the\W+)?(?:option|choice|answer|letter)\W+(?:is\W+)?)?"
    r"(?:(?P<alone>[A-Za-z])\W*$|(?P<large>[A-Z])(?:[).:]|$)"
    r"|(?P<followed>(?-i:[A-Z]))(?:,|\s+[-–—(]|\s+(?:because|since|as|which|and\s+not|not|is)\b))",
    re.IGNORECASE,
)
_CALLED_RIGHT = re.compile(
    r"\b(?:option|choice|answer)?\s?\W?(?P<before>(?-i:[B-Z]|(?<=ption\s)A|(?<=nswer\s)A))\W?\s"
    r"(?:is|must\sbe)\s(?:the\s)?(?:correct|right|best)\b"
    r"|\b(?:choose|pick|select|go\swith)\s(?:option\s|answer\s)?(?P<behind>(?-i:[A-Z]))\b(?![\w'])",
    re.IGNORECASE,
)
