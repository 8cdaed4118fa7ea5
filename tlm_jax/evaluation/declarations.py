"""Where a model says that something is its answer: markers, labels and boxes."""

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
    """

    kind: str
    start: int
    tail: str

    @property
    def line(self) -> str:
        """The first line of the tail that says anything."""
        return next((line for line in self.tail.split("\n") if line.strip(" \t:*$_[]\\#>-.")), "")


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
            content = last_boxed(text[match.start() : later][:_LONGEST_BOX])
            if content is not None:
                found.append(Declaration("box", match.start(), content))
        elif kind == "tag":
            content = text[match.end() : end].split("</answer>")[0]
            found.append(Declaration("tag", match.start(), content))
            end = match.start()
        else:
            final = kind == "label" and _FINAL.search(match[0])
            name = "marker" if final else kind
            found.append(Declaration(name, match.start(), text[match.end() : end]))
            end = match.start()
        later = match.start()
    return found


_FOREIGN = r"antwort|réponse|respuesta|risposta|resposta|antwoord|odpowiedź|ответ|答案|答え|答|정답"
_CUES = (
    *("answer", "####", "box", "ans", "option", "choice", "result", "value"),
    *_FOREIGN.split("|"),
    *("respuesta es", "réponse est"),
)
_FINAL = re.compile("final|correct", re.IGNORECASE)
_LONGEST_BOX = 20_000
_QUALITY = r"(?:(?:final|correct|right|best|overall|total|exact|numerical|simplified)\s{1,2})"
_IS = r"(?:is|would\s+be|will\s+be|should\s+be|must\s+be|equals|comes\s+out\s+to(?:\s+be)?)\b"
_DECLARED = re.compile(
    rf"(?P<marker>\b(?:{_QUALITY}{{0,3}}answer|{_QUALITY}{{1,3}}(?:option|choice|result|value))"
    r"(?:\s+(?:choice|option))?(?:\s+(?:to|for)\s+(?:the|this|that|your)\s+\w{1,20})?"
    rf"\s+{_IS}[ \t]*:?"
    r"|\b(?:la\s+respuesta\s+es|la\s+réponse\s+est|die\s+antwort\s+(?:ist|lautet))\b[ \t]*:?"
    r"|答案(?:是|为))"
    r"|(?P<hashes>####)"
    rf"|(?P<label>\b{_QUALITY}{{0,2}}(?:answer|ans)(?:[ \t]choice)?[*_ \t]{{0,4}}[:=：][*_]{{0,3}}"
    rf"|(?:^|(?<=\n))[ \t#>*_]{{0,8}}(?:{_FOREIGN})[*_ \t]{{0,4}}[:：][*_]{{0,3}}"
    rf"|(?:^|(?<=\n))[ \t#>*_]{{0,8}}(?:the[ \t])?{_QUALITY}answer[*_ \t]{{0,4}}(?=\n))"
    r"|(?P<box>\\f?box(?:ed)?(?=\s*\{|\s+[^\s$.]))"
    r"|(?P<tag><answer>)",
    re.IGNORECASE,
)
