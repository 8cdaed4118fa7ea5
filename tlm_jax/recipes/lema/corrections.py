"""What a corrector wrote, read line by line into its fields; what cannot be used has a reason."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import Literal

from tlm_jax.recipes.lema.paths import Steps, is_answer, step_line

NO_STEP = "no incorrect step"
UNREADABLE_STEP = "step number unreadable"
STEP_BEYOND = "step beyond the path"
NO_EXPLANATION = "no explanation"
NO_SOLUTION = "no corrected solution"
PROSE = "prose without the fields"
NOT_IN_BRACES = "corrected solution not in braces"
NOT_CONTINUING = "corrected steps do not continue the numbering"
NO_PARTS = "no explanations of the candidates, or no reasons"
NO_ANSWER = "no final answer"
WRONG_ANSWER = "wrong final answer"
REPEATS = "repeats the original"
CUT_OFF = "cut off"

_EXPLANATION, _SOLUTION = "Explanation:", "Correct Solution:"
_CORRECTED_ANSWER = "Corrected Answer:"
PARTS = ("Explanations:", "Reasons and Final Answer:")
_STEP = re.compile(r"(?:Incorrect Step:\s*)?Step (\d+)\s*\.?")


@dataclasses.dataclass(frozen=True)
class Correction:
    """A correction of a wrong path.

    Attributes:
      step: which step is the first wrong one, from 1; None of an answer that has no steps.
      explanation: why it is wrong.
      steps: the corrected ones from there on, the answer included.
    """

    step: int | None
    explanation: str
    steps: Steps

    def chain(self, path: Sequence[str]) -> Steps:
        """Returns a full chain of thought: the steps before the wrong one, and the corrected."""
        untouched = () if self.step is None else tuple(path[: self.step - 1])
        return (*untouched, *self.steps)


Read = Correction | str
"""A correction, or the reason why there is none."""


def read_steps(text: str, path: Sequence[str]) -> Read:
    """Returns the correction in what follows `Incorrect Step:` in a prompt.

    Braces and labels count where they stand on lines of their own or begin one; within a line they
    are part of the text, as in LaTeX. What follows the closing brace is not read.

    Args:
      text: of the corrector.
      path: the steps that it was shown.
    """
    lines = text.strip("\n").split("\n")
    explains, solves = _place(lines, _EXPLANATION), _place(lines, _SOLUTION)
    ends = [place for place in (explains, solves) if place is not None]
    head = " ".join("\n".join(lines[: min(ends, default=len(lines))]).split())
    match = _STEP.fullmatch(head)
    if not ends and match is None:
        return PROSE
    if not head:
        return NO_STEP
    if match is None:
        return UNREADABLE_STEP
    step = int(match[1])
    if not 1 <= step <= len(path):
        return STEP_BEYOND
    if explains is None or (solves is not None and solves < explains):
        return NO_EXPLANATION
    explanation = _field(lines[explains:solves], _EXPLANATION)
    if not explanation:
        return NO_EXPLANATION
    if solves is None:
        return NO_SOLUTION
    block = _block(lines[solves:], _SOLUTION)
    if isinstance(block, str):
        return block
    steps = _steps(block.lines, step, path)
    if isinstance(steps, str):
        return steps
    return _checked(Correction(step, explanation, steps), path, closed=block.closed)


def read_answer(text: str, path: Sequence[str]) -> Read:
    """Returns the correction in what follows `Mistakes:`, where candidates are explained.

    Args:
      text: of the corrector.
      path: the lines of the answer that it was shown.
    """
    lines = text.strip("\n").split("\n")
    corrects = _place(lines, _CORRECTED_ANSWER)
    explanation = _field(lines[:corrects], "Mistakes:")
    if corrects is None:
        return PROSE if explanation else NO_EXPLANATION
    if not explanation:
        return NO_EXPLANATION
    block = _block(lines[corrects:], _CORRECTED_ANSWER)
    if isinstance(block, str):
        return block
    found = tuple(line.strip() for line in block.lines)
    if any(part not in found for part in PARTS):
        return NO_PARTS
    return _checked(Correction(None, explanation, found), path, closed=block.closed)


@dataclasses.dataclass(frozen=True)
class _Block:
    lines: Sequence[str]
    closed: bool


def _place(lines: Sequence[str], label: str) -> int | None:
    return next((n for n, line in enumerate(lines) if line.lstrip().startswith(label)), None)


def _field(lines: Sequence[str], label: str) -> str:
    return " ".join("\n".join(lines).strip().removeprefix(label).split())


def _block(
    lines: Sequence[str], label: str
) -> _Block | Literal["corrected solution not in braces"]:
    """Returns the lines between braces that stand alone on theirs, but for the label."""
    rest = [lines[0].strip().removeprefix(label), *lines[1:]]
    rest = [line.rstrip() for line in rest if line.strip()]
    if not rest or rest[0].strip() != "{":
        return NOT_IN_BRACES
    for place, line in enumerate(rest[1:], 1):
        after = rest[place + 1] if place + 1 < len(rest) else ""
        # A brace of LaTeX may stand alone, too: the block goes on where a step follows.
        if line.strip() == "}" and step_line(after) is None:
            return _Block(rest[1:place], closed=True)
    return _Block(rest[1:], closed=False)


def _steps(lines: Sequence[str], step: int, path: Sequence[str]) -> Steps | str:
    """Returns the corrected steps from the wrong one on."""
    if lines and lines[0].strip() in ("...", "…"):
        lines = lines[1:]
    numbers: list[int] = []
    texts: list[str] = []
    for line in lines:
        found = step_line(line)
        if found is not None:
            numbers.append(found[0])
            texts.append(found[1])
        elif texts:
            texts[-1] += f"\n{line.strip()}"
        else:
            return NOT_CONTINUING
    if not numbers:
        return NO_SOLUTION
    if numbers[0] == 1 < step and tuple(texts[: step - 1]) == tuple(path[: step - 1]):
        # The untouched steps are written out.
        numbers, texts = numbers[step - 1 :], texts[step - 1 :]
    if numbers != list(range(step, step + len(numbers))):
        return NOT_CONTINUING
    return tuple(texts)


def _checked(found: Correction, path: Sequence[str], *, closed: bool) -> Read:
    if found.chain(path) == tuple(path):
        return REPEATS
    if not found.steps or not is_answer(found.steps[-1]):
        return NO_ANSWER if closed else CUT_OFF
    return found
