"""Texts of LEMA: what is trained on, and how a corrector is asked; line breaks as published."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

from tlm_jax.data.formats import FORMATS, get_format
from tlm_jax.data.published_formats import lema_choice_prompt, lema_prompt
from tlm_jax.data.records import Record, read_json_lines
from tlm_jax.data.run_data import RunData
from tlm_jax.errors import UserError, nearest
from tlm_jax.recipes.lema.corrections import Correction, Read, read_answer, read_steps
from tlm_jax.recipes.lema.paths import Steps, numbered, steps_of

PROMPTS_FILE = "lema_correction_prompts.jsonl"
Field = Literal["step", "explanation", "solution"]
"""Fields of a correction, in their order."""


@dataclasses.dataclass(frozen=True)
class Pair:
    """A row to train on; loss is on `targets` alone."""

    inputs: str
    targets: str


class Form(abc.ABC):
    """How chains of thought and corrections of one kind of question are written."""

    @abc.abstractmethod
    def cot_inputs(self, record: Record) -> str:
        """Returns what asks for a chain of thought; at test time the same."""

    @abc.abstractmethod
    def cot_targets(self, steps: Sequence[str]) -> str:
        """Returns a chain of thought, whose last step is the answer."""

    @abc.abstractmethod
    def path(self, solution: str, answer: str | None) -> Steps | None:
        """Returns a model's solution as a path; None where it has no answer."""

    @abc.abstractmethod
    def correction(
        self, record: Record, path: Sequence[str], found: Correction, without: Sequence[Field] = ()
    ) -> Pair:
        """Returns a correction to train on.

        Args:
          record: the question.
          path: the wrong one.
          found: its correction.
          without: fields that are left out.
        """

    @abc.abstractmethod
    def query(self, record: Record, path: Sequence[str]) -> str:
        """Returns the question to a corrector, up to where its answer begins."""

    @abc.abstractmethod
    def read(self, text: str, path: Sequence[str]) -> Read:
        """Returns the correction in a corrector's answer, or why there is none."""

    @abc.abstractmethod
    def published(self, data: RunData) -> tuple[str, Sequence[tuple[str, str]]]:
        """Returns the published instruction, and demonstrations as (question, block).

        Raises:
          UserError: the file of prompts is not there, or not whole.
        """

    def prompt(self, record: Record, path: Sequence[str], data: RunData) -> str:
        """Returns the whole prompt of a corrector.

        A demonstration that asks the same question is left out: those that are published are
        questions of the training sets.
        """
        instruction, blocks = self.published(data)
        others = [block for question, block in blocks if question != record.question]
        return "\n\n".join([instruction, *others, self.query(record, path)])

    def cot(self, record: Record, steps: Sequence[str]) -> Pair:
        """Returns a chain of thought to train on."""
        return Pair(self.cot_inputs(record), self.cot_targets(steps))

    def gold(self, record: Record) -> Steps | None:
        """Returns the solution that a record has; None where it has none."""
        if not record.rationale:
            return None
        steps = self.path(record.rationale, record.answer_text())
        return None if steps is None else (*steps[:-1], f"The answer is {record.answer_text()}.")


@dataclasses.dataclass(frozen=True)
class Numbered(Form):
    """Mathematics in numbered steps: GSM8K, MATH and their like.

    Attributes:
      task: whose published demonstrations a corrector is shown: "gsm8k" or "math".
      cot_form: "lema", as published, or one of `data.formats`, such as "cot_zero_shot" for a model
        that knows it.
      instruction: the line before a correction to train on; None: the published one; "": none.
    """

    task: str = "gsm8k"
    cot_form: str = "lema"
    instruction: str | None = None

    def __post_init__(self) -> None:
        if self.cot_form != "lema" and not get_format(self.cot_form).cot:
            cot = ["lema", *(name for name, form in FORMATS.items() if form.cot)]
            raise UserError(
                f"Numbered.cot_form is {self.cot_form!r}, expected one with a chain of thought: "
                f"{', '.join(cot)}"
            )

    def cot_inputs(self, record: Record) -> str:
        if self.cot_form == "lema":
            return lema_prompt(record)
        return get_format(self.cot_form).inputs(record)

    def cot_targets(self, steps: Sequence[str]) -> str:
        if self.cot_form == "lema":
            return " ".join(steps)
        return "\n".join([*steps[:-1], steps[-1].removesuffix(".")])

    def path(self, solution: str, answer: str | None) -> Steps | None:
        return steps_of(solution, answer)

    def correction(
        self, record: Record, path: Sequence[str], found: Correction, without: Sequence[Field] = ()
    ) -> Pair:
        assert found.step is not None
        dots = "...\n" if found.step > 1 else ""
        solution = f"{{\n{dots}{numbered(found.steps, found.step)}\n}}"
        fields = {
            "step": ("Incorrect Step:", f"Step {found.step}."),
            "explanation": ("Explanation:", found.explanation),
            "solution": ("Correct Solution:", solution),
        }
        instruction = _MATH_INSTRUCTION if self.instruction is None else self.instruction
        shown = f"Question: {record.question}\nOriginal Solution: {{\n{numbered(path)}\n}}\n"
        return _pair(_line(instruction) + shown, fields, without)

    def query(self, record: Record, path: Sequence[str]) -> str:
        return (
            f"Question: {record.question}\nOriginal Solution:\n{{\n{numbered(path)}\n}}\n"
            "Incorrect Step:"
        )

    def read(self, text: str, path: Sequence[str]) -> Read:
        return read_steps(text, path)

    def published(self, data: RunData) -> tuple[str, Sequence[tuple[str, str]]]:
        row = _published(self.task, data)
        return row["instruction"], [
            (
                one["question"],
                f"Question: {one['question']}\nOriginal Solution:\n{one['original']}\n"
                f"Incorrect Step: {one['incorrect_step']}\nExplanation: {one['explanation']}\n"
                f"Correct Solution:\n{one['corrected']}",
            )
            for one in row["demonstrations"]
        ]


@dataclasses.dataclass(frozen=True)
class Candidates(Form):
    """Commonsense questions whose candidates are explained one by one: CommonsenseQA.

    A correction has mistakes and a whole new answer, and no step.

    Attributes:
      task: whose published demonstrations a corrector is shown.
      instruction: the line before a correction to train on; None: one for commonsense questions in
        the words of the published one; "": none.
    """

    task: str = "csqa"
    instruction: str | None = None

    def cot_inputs(self, record: Record) -> str:
        return lema_choice_prompt(record)

    def cot_targets(self, steps: Sequence[str]) -> str:
        return "\n".join(steps)

    def path(self, solution: str, answer: str | None) -> Steps | None:
        lines = [line.strip() for line in solution.strip().split("\n") if line.strip()]
        return tuple(lines) if answer is not None else None

    def correction(
        self, record: Record, path: Sequence[str], found: Correction, without: Sequence[Field] = ()
    ) -> Pair:
        answer = "\n".join(found.steps)
        fields = {
            "explanation": ("Mistakes:", found.explanation),
            "solution": ("Corrected Answer:", f"{{\n{answer}\n}}"),
        }
        instruction = _CHOICE_INSTRUCTION if self.instruction is None else self.instruction
        original = "\n".join(path)
        shown = f"{_question(record)}\nOriginal Answer: {{\n{original}\n}}\n"
        return _pair(_line(instruction) + shown, fields, without)

    def query(self, record: Record, path: Sequence[str]) -> str:
        original = "\n".join(path)
        return f"{_question(record)}\nOriginal Answer:\n{{\n{original}\n}}\nMistakes:"

    def read(self, text: str, path: Sequence[str]) -> Read:
        return read_answer(text, path)

    def published(self, data: RunData) -> tuple[str, Sequence[tuple[str, str]]]:
        row = _published(self.task, data)
        return row["instruction"], [
            (
                one["question"],
                f"Question: {one['question']}\nCandidate Answers: {one['candidates']}\n"
                f"Original Answer:\n{one['original']}\nMistakes: {one['explanation']}\n"
                f"Corrected Answer:\n{one['corrected']}",
            )
            for one in row["demonstrations"]
        ]


def check_fields(names: Sequence[str]) -> None:
    """Raises UserError where a name is of no field, or all of them are left out."""
    known = get_args(Field)
    for name in names:
        if name not in known:
            raise UserError(
                f"a correction has no field {name!r}.{nearest(name, known)} It has "
                f"{', '.join(known)}"
            )
    if len(set(names)) == len(known):
        raise UserError(f"without {', '.join(known)} nothing is left of a correction")


_MATH_INSTRUCTION = (
    "For the following math problem, the original solution is incorrect. Please identify the "
    "incorrect step, explain why it is incorrect, and correct the original solution starting from "
    "the incorrect step."
)
_CHOICE_INSTRUCTION = (
    "For the following commonsense question, the original answer is incorrect. Please explain the "
    "mistakes in it, and correct the original answer."
)


def _pair(shown: str, fields: Mapping[str, tuple[str, str]], without: Sequence[str]) -> Pair:
    """Returns the fields that stay; the first one's label ends the inputs."""
    (label, text), *others = [field for name, field in fields.items() if name not in without]
    targets = "\n".join([f" {text}", *(f"{label} {text}" for label, text in others)])
    return Pair(shown + label, targets)


def _line(instruction: str) -> str:
    return f"{instruction}\n" if instruction else ""


def _question(record: Record) -> str:
    return f"Question: {record.question}\nCandidate Answers: {', '.join(record.options or ())}."


def _published(task: str, data: RunData) -> Mapping[str, Any]:
    """Returns the row of a task's prompt, read once a run."""
    return data.once(("lema prompts", task), lambda: _read_published(task, data))


def _read_published(task: str, data: RunData) -> Mapping[str, Any]:
    _, path = data.find_file(
        "LEMA's prompts of correctors",
        [PROMPTS_FILE],
        "the GitHub project microsoft/LEMA, the files of its folder prompts, a row a file with "
        "`task`, `instruction` and the list `demonstrations`",
    )
    rows = [row for _, row in read_json_lines(path)]
    for row in rows:
        if row.get("task") == task and row.get("instruction") and row.get("demonstrations"):
            return row
    known = sorted(str(row.get("task")) for row in rows)
    raise UserError(f"{path}: no row has the prompt of {task!r}.{nearest(task, known)}")
