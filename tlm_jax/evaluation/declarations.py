"""Declarations of an answer in a model's output: markers, labels and boxes."""

from __future__ import annotations

import re
from typing import NamedTuple

from tlm_jax.data.official.math import last_boxed

_MOST = 40
"""So many of the last ones are looked at, that hostile text is read in a moment."""


class Declaration(NamedTuple):
    """A place where an answer is declared.

    Attributes:
      kind: "marker" (`the answer is`, `Final answer:`), "hashes" (`####`), "label" (`Answer:`),
        "box", "tag" (`<answer>`).
      start: of the declaration in the text.
      tail: what follows a marker or label; what stands in a box or tag.
      tail_start: where that begins in the text.
    """

    kind: str
    start: int
    tail: str
    tail_start: int

    @property
    def line(self) -> str:
        """The first line of the tail that says anything."""
        return self.tail[slice(*self._line)]

    @property
    def read(self) -> tuple[int, int]:
        """Where what is read begins and ends in the text: a box or tag as a whole, else a line."""
        start, end = (0, len(self.tail)) if self.kind in ("box", "tag") else self._line
        return self.tail_start + start, self.tail_start + end

    @property
    def _line(self) -> tuple[int, int]:
        start = 0
        for line in self.tail.split("\n"):
            if line.strip(" \t:*$_[]\\#>-.`"):
                return start, start + len(line)
            start += len(line) + 1
        return 0, 0


def declarations(text: str) -> list[Declaration]:
    """Returns the last declarations of a text, the last of all first.

    What follows a marker ends where the next declaration but a box begins.
    """
    found: list[Declaration] = []
    small = text.lower()
    if not any(cue in small for cue in _CUES):
        return found
    end = later = len(text)
    for match in reversed([*_DECLARED.finditer(text)][-_MOST:]):
        kind = match.lastgroup or ""
        if kind == "box":
            content = _boxed(text[match.start() : later][:_LONGEST_BOX])
            if content is not None:
                begin = match.end() + text[match.end() : later].find(content)
                joined = _listed(content, text[begin + len(content) : later], found)
                if joined != content:
                    found.pop()
                found.append(Declaration("box", match.start(), joined, begin))
        elif kind == "tag":
            content = _END_TAG.split(text[match.end() : end], maxsplit=1)[0]
            found.append(Declaration("tag", match.start(), content, match.end()))
            end = match.start()
        else:
            final = kind == "label" and _FINAL.search(match[0])
            name = "marker" if final else kind
            tail = text[match.end() : end]
            found.append(Declaration(name, match.start(), tail, match.end()))
            end = match.start()
        later = match.start()
    return found


def _boxed(text: str) -> str | None:
    """Returns the content of the box that a text begins with."""
    unbraced = _UNBRACED.match(text)
    return unbraced[1] if unbraced else last_boxed(text)


def _listed(content: str, behind: str, found: list[Declaration]) -> str:
    """Returns a box's content, and that of the next box where both are members of a list."""
    if not found or found[-1].kind != "box" or not _BETWEEN_BOXES.fullmatch(behind):
        return content
    if found[-1].tail.strip() in (content.strip(), ""):
        return content
    return f"{content}, {found[-1].tail}"


_UNBRACED = re.compile(r"\\f?box(?:ed)?([0-9]+)")
_BETWEEN_BOXES = re.compile(
    r"\}{0,3}[\s$]*(?:,|;|,?[ ]?(?:\\text\{)?[ ]*(?:and|or|&)[ ]*\}?)[\s$]*"
)
_FOREIGN = r"antwort|réponse|respuesta|risposta|resposta|antwoord|odpowiedź|ответ|答案|答え|答|정답"
_CUES = (
    *("answer", "####", "box", "ans", "option", "choice", "result", "value"),
    *_FOREIGN.split("|"),
    *("respuesta", "réponse", "resposta", "risposta", "故选"),
)
_FINAL = re.compile("final|correct", re.IGNORECASE)
_LONGEST_BOX = 20_000
_END_TAG = re.compile("</(?:final_?)?answer>", re.IGNORECASE)
_FOREIGN_MARKERS = (
    r"la\s+respuesta(?:\s+(?:correcta|final))?\s+es|la\s+(?:bonne\s+)?réponse(?:\s+\w+)?\s+est"
    r"|die\s+(?:richtige\s+|korrekte\s+)?antwort\s+(?:ist|lautet)|a\s+resposta(?:\s+\w+)?\s+é"
    r"|la\s+risposta(?:\s+\w+)?\s+è"
)
_QUALITY = r"(?:(?:final|correct|right|best|overall|total|exact|numerical|simplified)\s{1,2})"
_IS = (
    r"(?:is|would\s+be|will\s+be|should\s+be|must\s+be|equals|comes\s+(?:out\s+)?to(?:\s+be)?"
    r"|(?:seems|appears|turns\s+out)\s+to\s+be)\b"
)
_DECLARED = re.compile(
    rf"(?P<marker>\b(?:{_QUALITY}{{0,3}}answer|{_QUALITY}{{1,3}}(?:option|choice|result|value))"
    r"(?:\s+(?:choice|option))?(?:\s+(?:to|for)\s+(?:the|this|that|your)\s+\w{1,20})?"
    rf"\s+{_IS}[ \t]*:?"
    rf"|\b(?:{_FOREIGN_MARKERS})(?!\w)[ \t]*:?|(?:答案(?:应该)?(?:是|为)|答えは|정답은|故选)[:：]?)"
    r"|(?P<hashes>####)"
    rf"|(?P<label>\b{_QUALITY}{{0,2}}(?:answer|ans)(?:[ \t]choice)?"
    r"[*_ \t\"']{0,4}[:=：][*_]{0,3}"
    rf"|(?:^|(?<=\n))[ \t#>*_]{{0,8}}(?:{_FOREIGN})[*_ \t]{{0,4}}[:：][*_]{{0,3}}"
    rf"|(?:^|(?<=\n))[ \t#>*_]{{0,8}}(?:the[ \t])?{_QUALITY}answer[*_ \t]{{0,4}}(?=\n))"
    r"|(?P<box>\\f?box(?:ed)?(?=\s*\{|\s+[^\s$.]|[0-9]))"
    r"|(?P<tag><(?:final_?)?answer>)",
    re.IGNORECASE,
)
