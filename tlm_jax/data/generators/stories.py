"""The grammar of word problems: parts of a story, each with the arithmetic that it implies."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

VARIABLES = ("n", "m", "k", "l")
"""Names of the numbers that a part states; `v` is the running value, `r` an intermediate one."""


@dataclass(frozen=True)
class Step:
    """One operation `left op right` and the sentence that explains it.

    Operands are a variable of the part, the running value 'v', an intermediate 'r' or an integer.
    The sentence has the field {eq} for the equation, such as '3 * 4 = 12', and may have {told}:
    what the story says in this part, without its full stop. A step that repeats the fact it uses
    is easy to check for a reader, and easy to learn: the number to copy follows words to match.
    """

    left: str
    op: str
    right: str
    result: str
    sentence: str


@dataclass(frozen=True)
class Part:
    """Sentences of the story (one of several wordings is taken) and the steps they imply.

    An opening without steps states the running value itself, as {n}.
    """

    wordings: tuple[str, ...]
    steps: tuple[Step, ...]


@dataclass(frozen=True)
class Scenario:
    """A family of situations: an opening, then events, then a closing that asks.

    Attributes:
      name: of the family.
      words: each a set of nouns that go together; a problem uses one of them.
      openings, events, closings: parts; every order of them makes sense.
      distractors: sentences with a number {d} that has no part in the answer.
    """

    name: str
    words: tuple[Mapping[str, str], ...]
    openings: tuple[Part, ...]
    events: tuple[Part, ...]
    closings: tuple[Part, ...]
    distractors: tuple[str, ...]


def part(*wordings: str, steps: Sequence[str] = ()) -> Part:
    """Returns a part; a step is written 'left op right = result: sentence', '= r' being optional.

    The last step's result becomes the running value.
    """
    return Part(wordings, tuple(_parse_step(step) for step in steps))


def _parse_step(text: str) -> Step:
    match = re.fullmatch(r"(\w+) ([-+*/]) (\w+)(?: = (r))?: (.*\{eq\}.*)", text)
    assert match, f"not a step: {text!r}"
    left, op, right, result, sentence = match.groups()
    return Step(left, op, right, result or "v", sentence)
