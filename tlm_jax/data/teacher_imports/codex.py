"""The official Codex samples of FlanT5 specialization (Fu et al. 2023): text dumps and pickles.

Per question the dump has `Question 0: ...`, `Answer: ...`, and per sample `Model output 0: ...` and
a line `Per-step decode: `, at each step the written token and up to five candidates,
`<<' sold'>> 0.9573 `, then `||| `. Token texts are Python literals, so `'<<'`, `'>>'` and `'|||'`
among them are read as what they are. Source: scripts/codex_decode_gsm8k.py and src/utils.py of
FranxYao/FlanT5-CoT-Specialization.
"""

from __future__ import annotations

import ast
import functools
import itertools
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tlm_jax.data.teacher_imports import restricted_pickle
from tlm_jax.data.teacher_imports.captured import Captured, Piece, Step, Unusable, piece_of
from tlm_jax.data.text_lines import open_text
from tlm_jax.errors import UserError

ROUNDING = 5e-5
"""Probabilities have four decimals, so each may be off by so much."""

PICKLES = ("codex_questions", "codex_answers", "codex_predictions", "codex_per_step_probs")
LABELS = ("codex_updated_labels", "codex_prediction_labels")


def read_dump(path: Path) -> Iterator[Captured]:
    """Yields the samples of a text dump, each with the question it stands under.

    The official reader pairs questions with samples by count, and so shifts all that follow a
    question without samples; here a sample belongs to the question above it. A dump that was
    interrupted and continued may hold a question twice: its samples are numbered on.

    Raises:
      UserError: a line is not what the format says; it is named.
    """
    lines = _Lines(path)
    samples: Counter[str] = Counter()
    questions: dict[str, int] = {}
    question = answer = ""
    while (line := lines.next()) is not None:
        place = f"{path}, line {lines.number}"
        if not line.strip():
            continue
        if found := _QUESTION.match(line):
            question = lines.until(found["text"], _ANSWER)
            if lines.peek() is None:
                raise UserError(f"{place}: no line 'Answer: ' follows; is the file cut off?")
            head = _ANSWER.match(lines.next() or "")
            assert head is not None
            answer = lines.until(head["text"], _OUTPUT, _QUESTION)
            questions.setdefault(question, len(questions))
            continue
        found = _OUTPUT.match(line)
        if found is None or not questions:
            expected = "'Question N: ' or 'Model output N: '" if questions else "'Question 0: '"
            raise UserError(
                f"{place}: expected {expected}, got {line[:40]!r}. Is this a dump of "
                "scripts/codex_decode_gsm8k.py?"
            )
        text = lines.until(found["text"], _DECODE, _OUTPUT, _QUESTION)
        decode = _DECODE.match(lines.peek() or "")
        if decode is not None:
            lines.next()
        steps = None if decode is None else _steps(decode["text"])
        index = samples[question]
        samples[question] += 1
        yield _captured(questions[question], index, question, answer, text, steps, place)


def read_pickles(directory: Path) -> Iterator[Captured]:
    """Yields the samples of the official pickles in a directory.

    `codex_questions` holds one question more than there are answers (the notebook mends it by
    hand): one that stands twice in a row is left out, where that makes the numbers agree. The
    labels, where they are there, say which samples are right.

    Raises:
      UserError: a pickle is missing, refused, or of another form.
    """
    questions, answers, predictions, probabilities = (
        _list(directory / f"{name}.pkl") for name in PICKLES
    )
    labels = next((_list(p) for name in LABELS if (p := directory / f"{name}.pkl").is_file()), None)
    questions = _without_repeated(questions, len(answers), directory)
    for name, held in (("codex_predictions", predictions), ("codex_per_step_probs", probabilities)):
        if len(held) != len(answers):
            raise UserError(
                f"{directory}/{name}.pkl is about {len(held):,} questions, codex_answers.pkl about "
                f"{len(answers):,}; expected files of one run"
            )
    for index, (question, answer) in enumerate(zip(questions, answers)):
        place = f"{directory}, question {index}"
        texts, decodes = predictions[index], probabilities[index]
        marks = [None] * len(texts) if labels is None else labels[index]
        if not len(texts) == len(decodes) == len(marks):
            raise UserError(
                f"{place}: {len(texts)} texts, {len(decodes)} lists of steps, {len(marks)} labels"
            )
        for k, (text, decode, mark) in enumerate(zip(texts, decodes, marks)):
            steps = [_pickled_step(step, place) for step in decode]
            yield _captured(
                index,
                k,
                _after(_QUESTION, question),
                _after(_ANSWER, answer),
                _after(_OUTPUT, text),
                steps,
                f"{place}, sample {k}",
                correct=None if mark is None else bool(mark),
            )


def content_steps(steps: Sequence[Step]) -> Sequence[Step]:
    """Returns the steps of the solution proper: without the two before it and the two behind.

    Codex repeats ` step`, writes a newline, and ends with two tokens of newlines.

    Raises:
      Unusable: the steps are not so; the official code takes such a sample for wrong.
    """
    pieces = [step.piece for step in steps]
    starts, ends = pieces[:2], pieces[-2:]
    if starts != [b" step", b"\n"] or ends not in ([b"\n", b"\n"], [b"\n\n", b"\n"]):
        raise Unusable("the tokens around the solution are not ' step', newline ... two newlines")
    return steps[2:-2]


def _captured(
    index: int,
    sample: int,
    question: str,
    answer: str,
    text: str,
    steps: Sequence[Step] | None,
    place: str,
    correct: bool | None = None,
) -> Captured:
    return Captured(
        id=f"codex-{index}-{sample}",
        place=place,
        question=question.strip(),
        text=text.strip(),
        steps=steps,
        question_id=f"codex-{index}",
        answer=answer.rpartition("####")[2].strip(),
        kind="numeric",
        correct=correct,
    )


class _Lines:
    """The lines of a file, with a look at the next one."""

    def __init__(self, path: Path):
        self._path, self.number = path, 0
        self._lines = self._read()
        self._ahead: list[str | None] = []

    def peek(self) -> str | None:
        """Returns the next line without taking it; None at the end."""
        if not self._ahead:
            self._ahead.append(next(self._lines, None))
        return self._ahead[0]

    def next(self) -> str | None:
        """Takes a line; None at the end."""
        line = self.peek()
        self._ahead.clear()
        self.number += line is not None
        return line

    def until(self, first: str, *heads: re.Pattern[str]) -> str:
        """Takes the lines before one that begins like any of the heads; returns them joined."""
        held = [first]
        while (line := self.peek()) is not None:
            if any(head.match(line) for head in heads):
                break
            held.append(line)
            self.next()
        return "\n".join(held)

    def _read(self) -> Iterator[str]:
        try:
            with open_text(self._path, newline="\n") as file:
                for line in file:
                    yield line.removesuffix("\n")
        except (OSError, EOFError, UnicodeDecodeError) as error:
            where = f"{self._path}, line {self.number + 1}"
            raise UserError(f"{where}: cannot be read: {error}") from error


def _steps(decode: str) -> list[Step] | None:
    """Reads the rest of a line of steps; None where it is torn or no such line."""
    steps: list[Step] = []
    entries: list[tuple[Piece, float]] = []
    place = 0
    while place < len(decode):
        if decode.startswith(_END, place):
            if not entries:
                return None
            steps.append(_step(entries))
            entries, place = [], place + len(_END)
            continue
        found = _ENTRY.match(decode, place)
        if found is None:
            return None
        entries.append((_literal(found["token"]), float(found["probability"])))
        place = found.end()
    return steps if steps and not entries else None


def _step(entries: Sequence[tuple[Piece, float]]) -> Step:
    """Returns a step from the written token and the candidates, of which it is one again."""
    distinct: dict[Piece, float] = {}
    for piece, probability in entries:
        distinct.setdefault(piece, probability)
    return Step(
        entries[0][0],
        tuple((piece, math.log(p) if p > 0 else -math.inf) for piece, p in distinct.items()),
    )


def _pickled_step(step: Any, place: str) -> Step:
    entries = list(step.items()) if isinstance(step, Mapping) else step
    try:
        return _step([(piece_of(text), float(probability)) for text, probability in entries])
    except (TypeError, ValueError, IndexError, AttributeError):
        raise UserError(
            f"{place}: a step is {str(step)[:60]}, expected (token, probability) pairs"
        ) from None


@functools.lru_cache(maxsize=1 << 17)
def _literal(token: str) -> Piece:
    return piece_of(ast.literal_eval(token))


def _list(path: Path) -> Sequence[Any]:
    value = restricted_pickle.load(path)
    if not isinstance(value, list | tuple):
        raise UserError(f"{path} holds a {type(value).__name__}, expected a list")
    return value


def _without_repeated(questions: Sequence[Any], wanted: int, directory: Path) -> Sequence[Any]:
    if len(questions) == wanted:
        return questions
    once = [
        question
        for before, question in itertools.pairwise([None, *questions])
        if question != before
    ]
    if len(once) != wanted:
        raise UserError(
            f"{directory}/codex_questions.pkl has {len(questions):,} questions, "
            f"codex_answers.pkl {wanted:,} answers; which belong together cannot be told"
        )
    return once


def _after(head: re.Pattern[str], text: Any) -> str:
    """Returns a pickled text without the head of its line in the dump."""
    found = head.match(text)
    return text[found.start("text") :] if found else text


_QUESTION = re.compile(r"Question \d+: (?P<text>.*)")
_ANSWER = re.compile(r"Answer: (?P<text>.*)")
_OUTPUT = re.compile(r"Model output \d+: ?(?P<text>.*)")
_DECODE = re.compile(r"Per-step decode: ?(?P<text>.*)")
_ENTRY = re.compile(
    r"<<(?P<token>'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\")>> (?P<probability>\d+\.\d+) "
)
_END = "||| "
