"""Parts of a model's output that may hold its answer: no thoughts, and one question at a time."""

from __future__ import annotations

import re
from typing import NamedTuple


class Region(NamedTuple):
    """A part of an output.

    Attributes:
      text: of the part, without the thoughts in it.
      pieces: (where a piece of it begins in `text`, where that stands in the output), in order.
    """

    text: str
    pieces: tuple[tuple[int, int], ...]

    def place_in_output(self, place: int) -> int:
        """Returns where in the output a character of the region stands."""
        start, source = max(piece for piece in self.pieces if piece[0] <= place)
        return source + place - start


def regions(text: str) -> list[Region]:
    """Returns the parts of an output in which its answer is looked for, one after the other.

    - Thoughts (`<think>...</think>` and the like) are left out: one without an end to the end of
      the text, one without a beginning from the beginning of it.
    - A base model goes on with questions of its own. The text is cut where one begins (`Q:`,
      `Question:`, `### Instruction`, the tokens of a user's turn or of an end), or, behind the line
      of an answer, a story with a question at its end (`Tom has 5 apples. How many ...?`), so that
      the first part with an answer holds that to the question that was asked. Parts of a question
      that are numbered from 1 are the model's own steps, and cut nothing.
    """
    spans = _spoken(text)
    spoken = "".join(text[start:end] for start, end in spans)
    starts = list(_NEW_QUESTION.finditer(spoken))
    numbers = [match["number"] for match in starts if match["number"]]
    if numbers and int(numbers[0]) == 1:
        starts = [match for match in starts if not match["number"]]
    cuts = [match.span() for match in starts]
    for pattern in (_AFTER_HASHES, _NEW_STORY):
        cuts += [match.span("cut") for match in pattern.finditer(spoken)]
    parts: list[tuple[int, int]] = []
    place = 0
    for start, end in sorted(cuts):
        parts.append((place, start))
        place = max(place, end)
    parts.append((place, len(spoken)))
    return [_region(spoken, *part, spans=spans) for part in parts if spoken[slice(*part)].strip()]


def _region(spoken: str, start: int, end: int, *, spans: list[tuple[int, int]]) -> Region:
    pieces = []
    place = 0  # in `spoken`
    for begin, behind in spans:
        length = behind - begin
        if place < end and place + length > start:
            skipped = max(start - place, 0)
            pieces.append((place + skipped - start, begin + skipped))
        place += length
    return Region(spoken[start:end], tuple(pieces))


def _spoken(text: str) -> list[tuple[int, int]]:
    """Returns where the pieces of a text outside of thoughts begin and end.

    An end closes every beginning since the first of its name, for a thought may talk about marks
    of thinking. One of a name that was not begun closes what was begun last.
    """
    kept: list[tuple[int, int]] = []
    place = 0
    begun: list[str] = []
    for match in _THOUGHT.finditer(text):
        name = _AROUND_NAME.sub("", _ATTRIBUTES.sub("", match[0].lower()))
        if not match["end"]:
            if not begun:
                kept.append((place, match.start()))
            begun += [] if name in begun else [name]
        elif not begun:
            kept.clear()  # it began in the prompt
        else:
            del begun[begun.index(name) if name in begun else -1 :]
        place = match.end()
    if not begun:
        kept.append((place, len(text)))
    return kept


_TAGS = (
    "think|thinking|thoughts?|reason|reasoning|reasoning_process|reflection|seed:think"
    "|inner_thoughts|scratch_?pad|analysis|cot|chain_of_thought|inner_monologue"
)
_THOUGHT = re.compile(
    rf"(?P<end></[ ]?(?:{_TAGS})[ ]?>|\[/THINK\]|◁/think▷|<\|(?:end_of_|/)(?:think|thought)\|>"
    r"|<\|channel\|>final<\|message\|>)"
    rf"|<[ ]?(?:{_TAGS})(?:[ ][^<>\n]{{0,80}})?>|\[THINK\]|◁think▷"
    r"|<\|(?:begin_of_)?(?:think|thought)\|>|<\|channel\|>analysis<\|message\|>",
    re.IGNORECASE,
)
_AROUND_NAME = re.compile(r"[^a-z_]|begin_of_|end_of_")
_ATTRIBUTES = re.compile(r"(?<=[a-z])[ ].*|(?<=channel)\|>.*")
_LABELS = (
    "question|problem|exercise|instruction|human|user|follow-up|student|frage|aufgabe|pregunta"
    "|pergunta|domanda|вопрос|задача|问题|題目|题目|問題|질문|문제"
)
# GSM8K's answer line ends a solution; where a question follows, it is another one.
_AFTER_HASHES = re.compile(r"(?<=####)[^\n]{0,80}[0-9][^\n]{0,80}(?P<cut>\n)(?=[^?#]{1,2000}\?)")
# A story of its own that ends in a question, in one line behind the line of an answer. What a model
# asks itself about the same story has no new subject, or begins as a correction does.
_NEW_STORY = re.compile(
    r"(?:(?<!#)####|\banswer(?:\s+is\b|[*_]{0,2}:)|\\boxed)[^\n]{0,200}(?P<cut>\n+)[ \t*_#]{0,4}"
    r"(?!(?i:wait|hmm|but|let|lets|actually|however|so|then|thus|no|check|checking|now|next|also|note"
    r"|verify|verification|to|we|i|is|are|did|does|do|therefore|step|again|since|oh|alternatively"
    r"|another way|double-check)\b)"
    r"(?!(?:[A-Za-z']{1,12}[ ]){0,2}(?i:he|she|they|it|his|her|their|its)\b)"
    r"(?=(?-i:[A-Z0-9\"])[^\n]{0,3000}\?[ \t]*(?:\n|$))(?=[^\n0-9.]{0,2000}(?:[0-9]|\.[ ]))"
    r"(?=[^\n]{0,2000}\b(?:how|what|which|find)[ ])",
    re.IGNORECASE,
)
_NEW_QUESTION = re.compile(
    r"(?:^|\n)[ \t]{0,8}(?:[#>*_\-]{1,6}[ \t]{0,4})?(?:(?:new|next|another)[ \t])?"
    rf"(?:(?:q|{_LABELS})(?:[ \t]{{0,2}}#?(?P<number>\d{{1,9}}))?[ \t]{{0,2}}[*_]{{0,3}}"
    r"(?:[:.)](?=\D)|：)"
    r"|\[(?:question|problem|instruction|human|user)\]"
    r"|#{2,6}[ \t]{0,4}(?:question|problem|exercise|instruction|human|user|input)\b)"
    r"|(?<=[.!?])[ \t]{1,4}(?-i:Question|Q)(?:[ ]\d{1,4})?:(?=[^?\n]{1,500}\?)"
    r"|<\|im_start\|>user|<\|user\|>|<\|start_header_id\|>user|<start_of_turn>user|\[INST\]"
    r"|<\|endoftext\|>|<\|end_of_text\|>|<\|im_end\|>|<\|eot_id\|>|<end_of_turn>|</s>|<eos>",
    re.IGNORECASE,
)
