"""Parts of a model's output that may hold its answer: no thoughts, and one question at a time."""

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
    spoken = "".join(_spoken(text))
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


def _spoken(text: str) -> list[str]:
    """Returns the pieces of a text outside of thoughts.

    An end closes every beginning since the first of its name, for a thought may talk about marks
    of thinking. One of a name that was not begun closes what was begun last.
    """
    kept: list[str] = []
    place = 0
    begun: list[str] = []
    for match in _THOUGHT.finditer(text):
        name = _AROUND_NAME.sub("", _ATTRIBUTES.sub("", match[0].lower()))
        if not match["end"]:
            if not begun:
                kept.append(text[place : match.start()])
            begun += [] if name in begun else [name]
        elif not begun:
            kept.clear()  # it began in the prompt
        else:
            del begun[begun.index(name) if name in begun else -1 :]
        place = match.end()
    if not begun:
        kept.append(text[place:])
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
