"""What was captured of a teacher: a solution, and at each of its tokens some log-probabilities."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Int32

from tlm_jax.data.teacher_steps import StepDistributions

Piece = bytes | str
"""What a token adds to the text, as bytes; or the name of a special token, which adds nothing."""


END_OF_TEXT: Piece = "<|endoftext|>"
"""Names the token that ends a text where the source gives no name."""


@dataclasses.dataclass(frozen=True, slots=True)
class Step:
    """One token that a teacher wrote.

    Attributes:
      piece: the token.
      alternatives: (token, log-probability in nats) as the source gives them, in its order; the
        written token is among them where the source says how probable it was.
    """

    piece: Piece
    alternatives: tuple[tuple[Piece, float], ...]


@dataclasses.dataclass(frozen=True)
class TokenSteps:
    """The tokens of a solution as ids of a vocabulary that is at hand."""

    token_ids: Int32[np.ndarray, " T"]
    steps: StepDistributions


@dataclasses.dataclass(frozen=True)
class Captured:
    """One solution of a teacher.

    Attributes:
      id: of the example that it becomes.
      place: where it stands, for messages.
      question: what was asked, as the example has it.
      text: the solution without white space around it.
      steps: its tokens. None where the source gives no log-probabilities.
      question_id: of the question in its own data set; other solutions may have the same.
      answer: the gold answer, where the source has one.
      kind: of answer, as records have it.
      options: texts of the options of a choice.
      correct: whether the source calls it right; None where it does not say.
      finished: whether the teacher ended it, not a limit on its length.
    """

    id: str
    place: str
    question: str
    text: str
    steps: Sequence[Step] | TokenSteps | None
    question_id: str = ""
    answer: str | None = None
    kind: str | None = None
    options: tuple[str, ...] | None = None
    correct: bool | None = None
    finished: bool = True


class Unusable(Exception):
    """Why a solution cannot be cached, in words that many solutions share, for counting."""


def piece_of(text: str, given: Iterable[int] | None = None) -> Piece:
    """Returns the piece that a server's text for a token stands for.

    Args:
      text: `<|endoftext|>` and its like are special tokens; `bytes: \\xe2\\x80` is how OpenAI's
        completions write bytes that are no text.
      given: the token's bytes, where the server gives them.
    """
    if _SPECIAL.fullmatch(text):
        return text
    if given is not None:
        return bytes(given)
    if text.startswith(_BYTES) and _ESCAPE.search(text):
        parts = _ESCAPE.split(text.removeprefix(_BYTES))
        # Text and two hex digits in turn.
        return b"".join(
            bytes.fromhex(part) if index % 2 else part.encode("utf-8", "surrogatepass")
            for index, part in enumerate(parts)
        )
    return text.encode("utf-8", "surrogatepass")


def ends_text(piece: Piece) -> bool:
    """Whether a special token is one that ends a text."""
    return piece in _ENDS


def within_text(steps: Sequence[Step], text: str) -> Sequence[Step]:
    """Returns the steps that write `text`, and a token that ends it right behind, if there is one.

    White space in front of the text and behind it may belong to its first and last token.

    Raises:
      Unusable: the tokens do not write the text, or it begins or ends within one of them.
    """
    pieces = [step.piece if isinstance(step.piece, bytes) else b"" for step in steps]
    first, last = covering(pieces, text.encode("utf-8", "surrogatepass"))
    behind = last
    while behind < len(steps) and not pieces[behind].strip() and not ends_text(steps[behind].piece):
        behind += 1
    if behind < len(steps) and ends_text(steps[behind].piece):
        return [*steps[first:last], steps[behind]]
    return steps[first:last]


def covering(pieces: Sequence[bytes], text: bytes) -> tuple[int, int]:
    """Returns [first, last) of the tokens whose bytes hold `text` and else only white space.

    Raises:
      Unusable: there are none.
    """
    wanted = text.strip()
    if not wanted:
        raise Unusable("the text is empty")
    ends = np.cumsum([len(piece) for piece in pieces])
    joined = b"".join(pieces)
    start = joined.find(wanted)
    if start < 0:
        raise Unusable("the tokens do not write the text")
    stop = start + len(wanted)
    first = int(np.searchsorted(ends, start, side="right"))
    last = int(np.searchsorted(ends, stop, side="left")) + 1
    outside = joined[ends[first] - len(pieces[first]) : start] + joined[stop : ends[last - 1]]
    if outside.strip():
        raise Unusable("the text begins or ends within a token")
    return first, last


_BYTES = "bytes:"
_ESCAPE = re.compile(r"\\x([0-9a-fA-F]{2})")
_SPECIAL = re.compile(r"<\|[^|<>\s]+\|>|</s>|<s>|<eos>|<bos>|<pad>|<unk>|<(?:start|end)_of_turn>")
_ENDS = frozenset(
    ["</s>", "<eos>", "<end_of_turn>"]
    + [f"<|{name}|>" for name in ("endoftext", "end_of_text", "im_end", "eot_id", "eom_id", "end")]
    + ["<|return|>"]
)
