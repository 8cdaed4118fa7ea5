"""Forms of mathematical answers, written so that math-verify reads them as people do."""

from __future__ import annotations

import re


def exactly(answer: str) -> str:
    """Returns an answer with mixed numbers, repeating decimals, ± and the like written out."""
    for pattern, replacement in _WRITTEN:
        answer = pattern.sub(replacement, answer)
    answer = _REPEATING.sub(_fraction, answer)
    if "\\pm" in answer:
        plus = answer.replace("\\pm", "+").replace("\\mp", "-")
        minus = answer.replace("\\pm", "-").replace("\\mp", "+")
        return f"{plus}, {minus}"
    return answer


def without_label(answer: str) -> str:
    """Returns an answer without the letter of a choice before it (`\\textbf{(C)}\\ 7`)."""
    return _LABEL.sub("", answer)


def without_per_cent(answer: str) -> str:
    """Returns an answer without a per cent sign at its end."""
    return _PER_CENT.sub("", answer)


def units_differ(one: str, other: str) -> bool:
    """Whether both name a unit behind their number, and not the same one."""
    units = [
        match[1].strip(" .").lower().removesuffix("s") if match else ""
        for match in (_UNIT.search(one), _UNIT.search(other))
    ]
    return all(units) and units[0] != units[1]


def bases_differ(one: str, other: str) -> bool:
    """Whether both are numbers in a base that they name, and not in the same one."""
    bases = [match[1] if match else "" for match in (_BASE.search(one), _BASE.search(other))]
    return all(bases) and bases[0] != bases[1]


def letters(answer: str) -> frozenset[str] | None:
    """Returns the letters of an answer that is a list of them, such as `A, C`, or None."""
    plain = "".join(TEXT_COMMAND.sub(lambda match: match[1], answer).split())
    return frozenset(plain.split(",")) if _LETTERS.fullmatch(plain) else None


def _fraction(match: re.Match[str]) -> str:
    whole, fixed, again = match["whole"], match["fixed"], match["again"]
    under = 10 ** len(fixed) * (10 ** len(again) - 1)
    over = int(whole + fixed + again) - int(whole + fixed)
    return f"\\frac{{{over}}}{{{under}}}"


TEXT_COMMAND = re.compile(r"\\(?:text|textbf|textit|mathrm|mbox)\s*\{([^{}]*)\}")
_SPACE = r"(?:\\[ ,;:!]|~|\s)"
_WRITTEN = (
    (re.compile(r"\\mathrm\s*\{\s*e\s*\}"), "e"),
    (re.compile(r"(?<![0-9/.])([0-9]+)\s+([0-9]+)/([0-9]+)(?![0-9/])"), r"\1\\frac{\2}{\3}"),
    (re.compile(r"^\s*(?:\\approx(?![a-zA-Z])|≈)\s*"), ""),
    (re.compile(r"\\text\s*\{\s*\\\$\s*\}"), r"\\$"),
    (re.compile(r"(?<=[0-9])(?:\\[ ,;:!]|~)(?=[0-9]{3}(?![0-9]))"), ""),
    # A mantissa without a point might be a multiple of Euler's number.
    (
        re.compile(r"(?<![0-9A-Za-z.])([0-9]+\.[0-9]+)[eE]([-+]?[0-9]{1,3})(?![0-9A-Za-z.])"),
        r"\1\\times 10^{\2}",
    ),
    (
        re.compile(
            r"^\\(?:text|mbox|textrm|mathrm)\s*\{\s*(-?[0-9][0-9.,]*(?: [A-Za-z]{2,})+)\s*\}$"
        ),
        r"\1",
    ),
)
_REPEATING = re.compile(
    r"(?<![0-9])(?P<whole>[0-9]{1,9})\.(?P<fixed>[0-9]{0,9})\\(?:overline|bar)\s*\{(?P<again>[0-9]{1,9})\}"
)
_LABEL = re.compile(rf"^\\text(?:bf|rm|it)?\s*\{{\s*\([A-E]\)\s*\}}{_SPACE}*(?=[^\s.])")
_PER_CENT = re.compile(r"\s*\\?%\s*$")
_UNIT = re.compile(
    rf"(?<=[0-9}}]){_SPACE}*\\(?:text|mathrm|mbox|textrm)\s*\{{\s*([A-Za-z ]+)\.?\s*\}}\s*$"
)
_BASE = re.compile(r"(?<=[0-9A-Z}])_\s*\{?\s*([0-9]+)\s*\}?\s*$")
_LETTERS = re.compile(r"[A-Z](?:,[A-Z]){1,25}")
