"""The option that a text chooses."""

from __future__ import annotations

import re
import unicodedata
from collections import deque
from collections.abc import Sequence

from tlm_jax.data.records import LETTERS
from tlm_jax.evaluation.answer_regions import regions
from tlm_jax.evaluation.declarations import Declaration, declarations


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
    for part in regions(text):
        region = _without_lists(part.text, options)
        found = declarations(region)
        for declared in found:
            letter = _declared(declared, options)
            if letter is not None:
                return letter if letter in letters else None
        if any(declared.kind in ("marker", "hashes") for declared in found):
            return None
        letter = _undeclared(region, options)
        if letter is not None:
            return letter if letter in letters else None
    return None


def _declared(declared: Declaration, options: Sequence[str]) -> str | None:
    line = declared.tail if declared.kind in ("box", "tag") else declared.line
    if declared.kind == "tag":
        inner = declarations(declared.tail)
        letter = next((x for d in inner if (x := _declared(d, options)) is not None), None)
        if letter is not None:
            return letter
    return _named(line[:_LONGEST_LINE], options)


def _undeclared(region: str, options: Sequence[str]) -> str | None:
    lines = [line for line in region.split("\n") if re.search(r"\w", line)]
    if not lines:
        return None
    last = _set_plainly(lines[-1][:_LONGEST_LINE]).strip()
    for line in (last, _set_plainly(lines[0][:_LONGEST_LINE]).strip()):
        alone = _ALONE.fullmatch(line)
        if alone:
            return alone["letter"].upper()
    end = _NEGATED.sub(" it is ", _set_plainly(region[-_LONGEST_END:]))
    called = deque(_CALLED_RIGHT.finditer(end), maxlen=1)
    if called:
        return (called[0]["before"] or called[0]["behind"]).upper()
    several = deque(_SEVERAL_IN_PARENTHESES.finditer(end), maxlen=1)
    refused = {match.start("letter") for match in _REFUSED.finditer(end)}
    in_parentheses = [m for m in _IN_PARENTHESES.finditer(end) if m.start("letter") not in refused]
    if in_parentheses:
        chosen = in_parentheses[-1]
        return None if several and several[0].end() == chosen.end() else chosen["letter"].upper()
    return None if _DENIED.search(last) else _named(last, options)


def _named(line: str, options: Sequence[str]) -> str | None:
    """Returns the letter that a line names; it may be beyond the options."""
    line = _NEGATED.sub(" it is ", _set_plainly(line)).strip()
    in_parentheses = _IN_PARENTHESES.search(line)
    if in_parentheses:
        several = _SEVERAL_IN_PARENTHESES.search(line)
        return None if several else in_parentheses["letter"].upper()
    if _SEVERAL.match(line):
        return None
    bare = _BARE_LETTER.match(line)
    if bare:
        return (bare["alone"] or bare["large"] or bare["followed"]).upper()
    for phrase in dict.fromkeys((_plain(line), _plain(_CLAUSE_END.split(line, maxsplit=1)[0]))):
        matching = [LETTERS[i] for i, option in enumerate(options) if _plain(option) == phrase]
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
        written = text[label.end() : label.end() + len(option)]
        return label.end() + len(option) if option and written.lower() == option.lower() else None
    line = text[label.end() : min(next_label, label.end() + 80)].split("\n")[0]
    if not line.strip(_BETWEEN_OPTIONS) or _SENTENCE.search(line):
        return None
    return label.end() + len(line.rstrip())


def _set_plainly(line: str) -> str:
    """Returns a line without LaTeX's and Markdown's marks of type."""
    line = _FULL_WIDTH.sub(lambda match: unicodedata.normalize("NFKC", match[0]), line)
    line = _TAG.sub(" ", line.replace("。", "."))
    for _ in range(2):
        line = _COMMAND.sub(r" \1 ", line)
    return re.sub(r"\\[()\[\] ,;!]|\\quad|[$*`\"“”]", " ", line)


def _plain(text: str) -> str:
    return re.sub(r"[\W_]+", " ", text).strip().lower()


_LONGEST_LINE = 2_000
_TAG = re.compile(r"</[a-z_]{2,20}>")
_LONGEST_END = 20_000
_FULL_WIDTH = re.compile(r"[\uff01-\uff5e]")
_IN_PARENTHESES = re.compile(r"\((?P<letter>[A-Za-z])\)")
# `not B but C` is C. The letter A alone may be an article.
_NEGATED = re.compile(
    r"(?:\bnot|\b(?:is|are|was)n't|\brather\sthan|\binstead\sof|\bcannot\sbe|\bcan't\sbe)\s+"
    r"(?:(?:option|choice|answer)\s+)?(?:\([A-Za-z]\)|(?-i:[A-Z])(?=\s*(?:$|[,.;:]|but\b)))"
    r"\s*[,;]?\s*(?:but\b|(?:so\s)?(?:it\s+is|it's|it\smust\sbe)\b)?",
    re.IGNORECASE,
)
_REFUSED = re.compile(
    r"\((?P<letter>[A-Za-z])\)[^().]{0,40}?\b(?:is|are|was|isn't|can't|cannot)\b[^().]{0,20}?"
    r"(?:\bnot\b|n't\b|\bcannot\b|\bwrong|\bincorrect|\bfalse|\bout\b|\bimpossible|\beliminated)",
    re.IGNORECASE,
)
_DENIED = re.compile(
    r"^\W*(?:(?:option|choice|answer)\s)?[A-Z]\W{1,2}(?:(?:is|was|are)\s|isn't|cannot|can't|wrong|no\b)",
    re.IGNORECASE,
)
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
_SAID = (
    r"(?:(?:therefore|thus|hence|so|clearly|(?:most\W)?likely|probably|indeed|definitely|obviously"
    r"|simply|just|certainly|actually|i\Wthink|i'd\Wsay|it\Wis|it's|it\Wmust\Wbe|that\Wis)\W+){0,4}"
    r"(?:(?:the\W+|my\W+)?(?:option|choice|answer|letter|选项?)\W*\b(?:is\W+)?)?"
)
_ALONE = re.compile(rf"\W*{_SAID}(?P<letter>[A-Za-z])(?:\W*|\.\W*note\b.*)", re.IGNORECASE)
_BARE_LETTER = re.compile(
    rf"\W*{_SAID}"
    r"(?:(?P<alone>[A-Za-z])\W*$|(?P<large>[A-Z])(?:[).:]|$)"
    r"|(?P<followed>(?-i:[A-Z]))(?:\s?,|\s+[-–—(]|\s+(?:because|since|as|which|and\s+not|not|is)\b))",
    re.IGNORECASE,
)
_CALLED_RIGHT = re.compile(
    r"(?<![A-Za-z0-9'])(?P<before>(?-i:[A-Z])|(?<=\()[A-Za-z](?=\)))\W?\s"
    r"(?:(?:is|must\sbe)\s(?:the\s)?(?:only\s)?(?:correct|right|best|answer|true)\b|remains\b)"
    r"|(?:\b(?:choose|pick|select|go\swith|(?:choice|option|it)\sis|it's|it\smust\sbe|so|hence"
    r"|therefore|thus),?\s(?:option\s|answer\s)?|故?选[:：]?\s?)"
    r"\(?(?P<behind>(?-i:[A-Z]))\)?(?=\W{0,3}(?:$|\n|[.,;!](?:\s|$)|[—–]|\s(?:because|since|as)\b))",
    re.IGNORECASE,
)
