"""Captured solutions of a teacher, with some log-probabilities at each of their tokens."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Int32

from tlm_jax.system.terminal import printable
from tlm_jax.teacher_cache.steps import StepDistributions

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
      before: what the tokens write before the solution: a reasoning part, an echoed prompt.
      stops: texts that end a solution, one of which the tokens may write behind it.
      problem: why it cannot be cached, where that is known.
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
    before: str = ""
    stops: tuple[str, ...] = ()
    problem: str = ""


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


def is_special(text: str) -> bool:
    """Whether a token's text is the name of a special token, of whatever family."""
    return _SPECIAL.fullmatch(text) is not None


def ends_text(piece: Piece) -> bool:
    """Whether a special token is one that ends a text."""
    return piece in _ENDS


def within_text(
    steps: Sequence[Step], text: str, *, before: str = "", stops: Sequence[str] = ()
) -> Sequence[Step]:
    """Returns the steps that write `text`, and a token that ends it right behind, if there is one.

    The tokens must be exactly the text: it begins with the first of them, or behind `before`, or
    behind the mark that closes a reasoning part; behind it there is nothing but one of `stops`, the
    end of the text and white space. White space in front of the text and behind it may belong to
    its first and last token.

    Raises:
      Unusable: they are not; the reason says how they differ.
    """
    end = len(steps)
    while end and (isinstance(steps[end - 1].piece, str) or not _stripped(steps[end - 1])):
        end -= 1
    pieces = [step.piece if isinstance(step.piece, bytes) else b"" for step in steps[:end]]
    wanted = text.encode("utf-8", "surrogatepass")
    first, last = _exactly(steps[:end], pieces, wanted, before.encode("utf-8", "replace"), stops)
    if any(isinstance(step.piece, str) for step in steps[first:last]):
        raise Unusable("a special token within the text")
    if not all(pieces[first:last]):
        raise Unusable("a token within the text of which the source gives no text")
    if last < end:
        return steps[first:last]  # a stop string ended it
    specials = [step for step in steps[end:] if isinstance(step.piece, str)]
    if specials and not ends_text(specials[0].piece):
        raise Unusable(f"behind the text a special token that is no known end: {specials[0].piece}")
    return [*steps[first:last], *specials[:1]]


def covering(pieces: Sequence[bytes], text: bytes, start: int = 0) -> tuple[int, int]:
    """Returns [first, last) of the tokens from `start` on whose bytes begin with `text`.

    There may be white space before it, and in its last token.

    Raises:
      Unusable: there are none.
    """
    wanted = text.strip()
    if not wanted:
        raise Unusable("the text is empty")
    joined = b"".join(pieces[start:])
    begin = len(joined) - len(joined.lstrip())
    if not joined.startswith(wanted, begin):
        raise Unusable("the tokens do not write the text")
    ends = np.cumsum([len(piece) for piece in pieces[start:]])
    stop = begin + len(wanted)
    first = int(np.searchsorted(ends, begin, side="right"))
    last = int(np.searchsorted(ends, stop, side="left")) + 1
    if joined[stop : ends[last - 1]].strip():
        raise Unusable("the text ends within a token")
    return start + first, start + last


def _exactly(
    steps: Sequence[Step],
    pieces: Sequence[bytes],
    wanted: bytes,
    before: bytes,
    stops: Sequence[str],
) -> tuple[int, int]:
    """Returns [first, last) of the tokens of the text, which is all that they write from there."""
    reasons: list[str] = []
    for start in _beginnings(steps, pieces, before):
        try:
            first, last = covering(pieces, wanted, start)
        except Unusable as reason:
            reasons.append(str(reason))
            continue
        if last == len(pieces) or _is_stop(pieces[last:], stops):
            return first, last
        behind = pieces[last:]
        named = f": {printable(behind[0].decode('utf-8', 'replace'))!r}" if len(behind) == 1 else ""
        reasons.append(f"the tokens go on behind the text, and not with a known end{named}")
    if "the tokens do not write the text" in reasons and wanted.strip() in b"".join(pieces):
        raise Unusable("the tokens write more than the text, such as a reasoning part")
    raise Unusable(reasons[-1])


def _beginnings(steps: Sequence[Step], pieces: Sequence[bytes], before: bytes) -> list[int]:
    """Returns the tokens that may begin the text: the first one, those behind a known part."""
    joined, ends = b"".join(pieces), np.cumsum([0, *map(len, pieces)])
    offsets: list[int] = []
    ahead = before.strip()
    if ahead and joined.lstrip().startswith(ahead):
        offsets.append(len(joined) - len(joined.lstrip()) + len(ahead))
    closed = [joined.rfind(mark) + len(mark) for mark in _CLOSING if mark in joined]
    offsets += [max(closed)] if closed else []
    found = [0]
    for offset in offsets:
        token = int(np.searchsorted(ends, offset, side="left"))
        if not joined[offset : ends[token]].strip():
            found.append(token)
    opened = [n for n, step in enumerate(steps, start=1) if step.piece in _OPENING]
    return found + opened[-1:]


def _is_stop(pieces: Sequence[bytes], stops: Sequence[str]) -> bool:
    """Whether tokens write one of the texts that end a solution, and none beyond the last of it."""
    behind = b"".join(pieces).lstrip()
    reached = len(b"".join(pieces[:-1]).lstrip())
    wanted = [stop.encode("utf-8", "surrogatepass").lstrip() for stop in stops]
    return any(behind.startswith(stop) and len(stop) > reached for stop in wanted if stop)


def _stripped(step: Step) -> bytes:
    return step.piece.strip() if isinstance(step.piece, bytes) else b""


_BYTES = "bytes:"
_ESCAPE = re.compile(r"\\x([0-9a-fA-F]{2})")
_SPECIAL = re.compile(
    r"<[|\uff5c][^|\uff5c<>\s]+[|\uff5c]>"  # <|im_end|>, DeepSeek's with full-width bars
    r"|</?s>|<\|?(?:bos|eos|pad|unk|eod|eot|eom|eop|eoa|turn)\|?>|\[(?:BOS|EOS|PAD)\]"
    r"|<(?:start|end)_of_(?:turn|utterance|image)>|<(?:extra_id|SPECIAL)_\d+>"
)
_ENDS = frozenset(
    ["</s>", "<eos>", "<end_of_turn>", "<end_of_utterance>", "<turn|>", "[EOS]"]
    + [f"<{name}>" for name in ("eod", "eot", "eom", "eop", "eoa")]
    + [f"<|{name}|>" for name in ("endoftext", "end_of_text", "im_end", "eot_id", "eom_id", "end")]
    + [
        f"<|{name}|>"
        for name in ("return", "eot", "eos", "eod", "end_of_turn", "END_OF_TURN_TOKEN")
    ]
    + ["<|END_OF_TURN_TOKEN|>", "<|END_RESPONSE|>", "<|assistant_end|>", "<|role_end|>"]
    + ["<\uff5cend\u2581of\u2581sentence\uff5c>"]
)
_CLOSING = (
    b"</think>",
    b"</thinking>",
    b"</thought>",
    b"</reasoning>",
    b"</seed:think>",
    b"[/THINK]",
)
"""Marks that close a reasoning part, where they are text."""
_OPENING = ("<|message|>", "<|END_THINKING|>", "<|START_RESPONSE|>")
"""Special tokens behind which the answer stands, where it does not stand first."""
