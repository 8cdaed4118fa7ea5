"""Writes the many ways of setting a number (LaTeX, Unicode, Markdown) in one plain way."""

from __future__ import annotations

import re
import unicodedata


def plain(text: str) -> str:
    """Returns a text in which numbers are written with ASCII signs.

    Full-width signs, the minus signs and dashes of Unicode, ½ and 10⁵, the spaces that group
    digits, LaTeX's `7{,}250`, `\\frac{3}{4}`, `3 \\times 10^{5}`, `\\text{...}` and `\\$`, and
    Markdown's stars become what a keyboard writes: `-3`, `1/2`, `10^5`, `7,250`, `3 × 10^5`. A
    terminal's escape sequences go. Other characters stay as they are.
    """
    if not text.isascii():
        text = _unicode(text)
    if "\x1b" in text:
        text = _TERMINAL.sub("", text)
    if "\\" in text or "{" in text:
        text = _latex(text)
    for pattern, replacement in _MARKDOWN:
        text = pattern.sub(replacement, text)
    return text


def _unicode(text: str) -> str:
    text = _GROUPING_SPACE.sub("", text)
    text = _SUPERSCRIPT.sub(lambda m: f"^{{{unicodedata.normalize('NFKC', m[0])}}}", text)
    text = _VULGAR.sub(_vulgar, text)
    text = _FULL_WIDTH.sub(lambda m: unicodedata.normalize("NFKC", m[0]), text)
    return _EM_DASH.sub("-", text.translate(_SIGNS))


def _vulgar(match: re.Match[str]) -> str:
    fraction = unicodedata.normalize("NFKC", match["sign"]).replace("⁄", "/")
    return f"{match['whole']} {fraction}" if match["whole"] else fraction


def _latex(text: str) -> str:
    for pattern, replacement in _LATEX_BEFORE:
        text = pattern.sub(replacement, text)
    for _ in range(4):  # fractions and texts inside of each other
        changed = text
        for pattern, replacement in _LATEX_COMMANDS:
            changed = pattern.sub(replacement, changed)
        if changed == text:
            break
        text = changed
    return text


_SIGNS = {ord(sign): "-" for sign in "−–‐‑‒﹣－⁻˗"} | {
    **{ord(sign): " " for sign in "\u00a0\u2002\u2003\u2007\u2009\u200a\u202f\u3000"},
    **{ord(sign): None for sign in "\u200b\u2060\ufeff\u200e\u200f"},
    ord("⁄"): "/",
    ord("∕"): "/",
    ord("％"): "%",
    ord("∙"): "·",
    ord("⋅"): "·",
    ord("’"): "'",
    ord("＝"): "=",
    ord("٬"): ",",
    ord("٫"): ".",
    ord("。"): ". ",
}
_GROUPING_SPACE = re.compile(r"(?<=[0-9])[\u00a0\u2007\u2009\u200a\u202f](?=[0-9]{3}(?![0-9]))")
_SUPERSCRIPT = re.compile(r"(?<=[0-9)])[⁻⁺]?[⁰¹²³⁴⁵⁶⁷⁸⁹]+")
_VULGAR = re.compile(r"(?:(?P<whole>[0-9])[ ]?)?(?P<sign>[¼-¾⅐-⅞↉])")
_FULL_WIDTH = re.compile(r"[\uff01-\uff5e]")
_EM_DASH = re.compile(r"(?<![0-9A-Za-z)])—(?=[$£€]?[0-9.])")
_INNER = r"\{([^{}]{0,200})\}"
_LATEX_BEFORE = [
    (re.compile(r"\{([,.:])\}"), r"\1"),
    (re.compile(r"(?<=[0-9]),\\[!,;]\s?(?=[0-9])"), ","),
    (re.compile(r"(?<=[0-9])(?:\\[,;: ]|~)(?=[0-9]{3}(?![0-9]))"), ","),
    (re.compile(r"\\[!,;:]|\\ |~"), " "),
    (re.compile(r"\\(?:left|right|displaystyle|mathstrut|big|Big)(?![a-zA-Z])"), ""),
    (re.compile(r"\\(?:times|ast)(?![a-zA-Z])"), "×"),
    (re.compile(r"\\cdot(?![a-zA-Z])"), "·"),
    (re.compile(r"\\div(?![a-zA-Z])"), "÷"),
    (re.compile(r"\\approx(?![a-zA-Z])"), "≈"),
    (re.compile(r"\\q?quad(?![a-zA-Z])"), " "),
    (re.compile(r"\\[()\[\]]"), " "),
    (re.compile(r"\^\{?\s*\\circ\s*\}?"), " degrees "),
    (re.compile(r"\\([$%#&_])"), r"\1"),
]
_LATEX_COMMANDS = [
    (
        re.compile(rf"\\(?:text|mathrm|mbox|textbf|textit|mathbf|bf|bm|operatorname)\s*{_INNER}"),
        r" \1 ",
    ),
    (
        re.compile(r"(?<=[0-9])\s*\\[dtc]?frac\s*\{\s*([0-9]+)\s*\}\s*\{\s*([0-9]+)\s*\}"),
        r" \1/\2",
    ),
    (re.compile(r"\\[dtc]?frac\s*\{\s*([0-9.]+)\s*\}\s*\{\s*([0-9.]+)\s*\}"), r"\1/\2"),
    (re.compile(rf"\\[dtc]?frac\s*{_INNER}\s*{_INNER}"), r"((\1)/(\2))"),
    (re.compile(r"\\[dtc]?frac\s*([0-9])\s*([0-9])"), r"\1/\2"),
    (re.compile(r"\\[dtc]?frac\s*\{\s*([0-9.]+)\s*\}\s*([0-9])"), r"\1/\2"),
    (re.compile(r"\\[dtc]?frac\s*([0-9])\s*\{\s*([0-9.]+)\s*\}"), r"\1/\2"),
    (re.compile(rf"\\f?box(?:ed)?\s*{_INNER}"), r" \1 "),
    (re.compile(r"\^\{\s*(-?[0-9]{1,4})\s*\}"), r"^\1"),
]
_TERMINAL = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")  # ECMA-48, control sequences
_MARKDOWN = [
    (re.compile(r"(?:^|(?<=[=:$])|(?<=[=:$a-z]\s))-\(([0-9][0-9.,]{0,30})\)"), r"-\1"),
    (re.compile(r"(?<=[0-9])\s?\*\*\s?(?=-?[0-9])"), "^"),
    (re.compile(r"\*\*|__|`"), ""),
    (re.compile(r"(?<![0-9)\s])\*(?=\S)|(?<=\S)\*(?![\s0-9(])"), ""),
]
