"""Which parts of a model's output may hold its answer: no thoughts, and one question at a time."""

from __future__ import annotations

import re


def regions(text: str) -> list[str]:
    """Returns the parts of an output in which its answer is looked for, one after the other.

    - Thoughts (`<think>...</think>` and the like) are left out: one without an end to the end of
      the text, one without a beginning from the beginning of it.
    - A base model goes on with questions of its own. The text is cut where one begins (`Q:`,
      `Question:`, `### Instruction`, the tokens of a user's turn or of an end), so that the first
      part with an answer holds that to the question that was asked. Parts of a question that are
      numbered from 1 are the model's own steps, and cut nothing.
    """
    spoken = without_thoughts(text)
    starts = list(_NEW_QUESTION.finditer(spoken))
    numbers = [match["number"] for match in starts if match["number"]]
    if numbers and int(numbers[0]) == 1:
        starts = [match for match in starts if not match["number"]]
    cuts = [match.span() for match in starts]
    cuts += [match.span("cut") for match in _AFTER_HASHES.finditer(spoken)]
    parts, place = [], 0
    for start, end in sorted(cuts):
        parts.append(spoken[place:start])
        place = end
    parts.append(spoken[place:])
    return [part for part in parts if part.strip()]


def without_thoughts(text: str) -> str:
    """Returns a text without the parts between marks of thinking."""
    kept: list[str] = []
    place = 0
    depth = 0
    for match in _THOUGHT.finditer(text):
        if match["open"]:
            if depth == 0:
                kept.append(text[place : match.start()])
            depth += 1
        elif depth > 0:
            depth -= 1
        else:
            kept.clear()  # it began in the prompt
        place = match.end()
    if depth == 0:
        kept.append(text[place:])
    return "".join(kept)


_TAGS = "think|thinking|thought|thoughts|reasoning|reflection|seed:think|inner_thoughts"
_THOUGHT = re.compile(
    rf"(?P<open><(?:{_TAGS})>|\[THINK\]|◁think▷|<\|begin_of_thought\|>"
    r"|<\|channel\|>analysis<\|message\|>)"
    rf"|</(?:{_TAGS})>|\[/THINK\]|◁/think▷|<\|end_of_thought\|>"
    r"|<\|channel\|>final<\|message\|>",
    re.IGNORECASE,
)
_LABELS = "question|problem|exercise|instruction|human|user|follow-up|student"
# GSM8K's answer line ends a solution; where a question follows, it is another one.
_AFTER_HASHES = re.compile(r"(?<=####)[^\n]{0,80}[0-9][^\n]{0,80}(?P<cut>\n)(?=[^?#]{1,2000}\?)")
_NEW_QUESTION = re.compile(
    r"(?:^|\n)[ \t]{0,8}(?:[#>*_\-]{1,6}[ \t]{0,4})?(?:(?:new|next|another)[ \t])?"
    rf"(?:(?:q|{_LABELS})(?:[ \t]{{0,2}}#?(?P<number>\d{{1,9}}))?[ \t]{{0,2}}[*_]{{0,3}}[:.)](?=\D)"
    r"|#{2,6}[ \t]{0,4}(?:question|problem|exercise|instruction|human|user|input)\b)"
    r"|<\|im_start\|>user|<\|user\|>|<\|start_header_id\|>user|<start_of_turn>user|\[INST\]"
    r"|<\|endoftext\|>|<\|end_of_text\|>|<\|im_end\|>|<\|eot_id\|>|<end_of_turn>|</s>|<eos>",
    re.IGNORECASE,
)
