"""Solutions of any form as steps, of which the last one says the answer."""

from __future__ import annotations

import re
from collections.abc import Sequence

from tlm_jax.data.formats import ANSWER_MARKER, clean_rationale

Steps = tuple[str, ...]
"""Texts of the steps without their numbers; the last is `The answer is n.`"""

_NUMBERED = re.compile(r"\s*Step (\d+):\s*(.*)")
_ANSWER_LINE = re.compile(
    r"(?:####|A:|(?:so|thus|therefore|hence)?,? ?the (?:final )?answer is:?)\s*(\S.*?)\.?\s*",
    re.IGNORECASE,
)
_MARKER = re.compile(r"(?:(?:So|Thus|Therefore|Hence),? )?[Tt]he (?:final )?answer is:? ")
_PREAMBLE = re.compile(r"let's think step by step[.:]?", re.IGNORECASE)
_OPENED, _CLOSED = re.compile(r"\\begin\{|\\\["), re.compile(r"\\end\{|\\\]")
_SENTENCE = re.compile(
    r"(?<=[.!?])(?<!\bMr\.)(?<!\bMs\.)(?<!\bDr\.)(?<!\bSt\.)(?<!\bMrs\.)\s+(?=\S)"
)
_STARTS_SMALL = re.compile(r"[a-z]")


def steps_of(solution: str, answer: str | None = None) -> Steps | None:
    r"""Returns a solution as steps; None where it has no answer.

    Lines are steps; of a solution of one line, sentences are. Lines within LaTeX that is still open
    (`\begin`, `\[`) belong to the step in which it began, lines of a numbered solution to the step
    before. GSM8K's calculator marks go, and so do numbers that are there already.

    Args:
      solution: as a model wrote it: with `#### n`, `A: n` or `The answer is n` at its end, or none.
      answer: what a rule found in it, for a solution that names its answer in no such way.
    """
    pieces = _pieces(clean_rationale(solution))
    named = None
    if pieces:
        *before, last = pieces
        marks = list(_MARKER.finditer(last))
        if marks and marks[-1].start():
            pieces = [*before, last[: marks[-1].start()].strip(), last[marks[-1].start() :]]
    while pieces and (match := _ANSWER_LINE.fullmatch(pieces[-1])):
        named = named or match[1]
        pieces.pop()
    answer = named or answer
    return None if answer is None else (*pieces, f"{ANSWER_MARKER}{answer}.")


def numbered(steps: Sequence[str], first: int = 1) -> str:
    """Returns steps as text, `Step 1: ...`, a line each."""
    return "\n".join(f"Step {n}: {step}" for n, step in enumerate(steps, first))


def is_answer(step: str) -> bool:
    """Whether a step is nothing but the answer."""
    return _ANSWER_LINE.fullmatch(step) is not None


def step_line(line: str) -> tuple[int, str] | None:
    """Returns number and text of a line that begins a step."""
    match = _NUMBERED.fullmatch(line)
    return None if match is None else (int(match[1]), match[2].strip())


def _pieces(text: str) -> list[str]:
    lines = [line.strip() for line in text.split("\n")]
    lines = [line for line in lines if line and not _PREAMBLE.fullmatch(line)]
    if any(step_line(line) for line in lines):
        return _numbered_pieces(lines)
    if len(lines) == 1:
        return _sentences(lines[0])
    return _joined_latex(lines)


def _numbered_pieces(lines: Sequence[str]) -> list[str]:
    """Returns the steps of a numbered solution; what stands before the first is one, too."""
    pieces: list[str] = []
    begun = False
    for line in lines:
        found = step_line(line)
        if found is not None:
            begun = True
            pieces.append(found[1])
        elif begun and not is_answer(line):
            pieces[-1] += f" {line}"
        else:
            pieces.append(line)
    return [piece for piece in pieces if piece]


def _sentences(line: str) -> list[str]:
    pieces: list[str] = []
    for sentence in _SENTENCE.split(line):
        # What goes on in small letters is no new sentence: "approx. half".
        if pieces and _STARTS_SMALL.match(sentence):
            pieces[-1] += f" {sentence}"
        else:
            pieces.append(sentence)
    return pieces


def _joined_latex(lines: Sequence[str]) -> list[str]:
    pieces: list[str] = []
    still_open = 0
    for line in lines:
        if still_open > 0:
            pieces[-1] += f" {line}"
        else:
            pieces.append(line)
            still_open = 0
        still_open += len(_OPENED.findall(line)) - len(_CLOSED.findall(line))
    return pieces
