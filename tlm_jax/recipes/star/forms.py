"""Forms of STaR's prompts: how a question is asked, with a hint and without, and where it ends."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from tlm_jax.data.formats import STEP_BY_STEP, question_with_options
from tlm_jax.data.generators.addition import Addition, addition
from tlm_jax.data.generators.draws import Draws
from tlm_jax.data.published_formats import (
    star_addition,
    star_addition_prompt,
    star_choice_prompt,
    star_gsm8k_prompt,
)
from tlm_jax.data.records import Record, read_json_lines
from tlm_jax.data.run_data import RunData
from tlm_jax.errors import UserError, nearest
from tlm_jax.system.home import expanded
from tlm_jax.system.text_files import read_text

PROMPTS_FILE = "star_prompts.jsonl"


class Form(abc.ABC):
    """How questions of one kind are asked; without files of its own until they are asked for.

    Attributes:
      stop: texts that end a rationale of a model that goes on by itself.
    """

    stop: Sequence[str]

    @abc.abstractmethod
    def demonstrations(self, record: Record, data: RunData, *, hint: bool) -> Sequence[str]:
        """Returns the solved blocks that stand before a question, in their order.

        Args:
          record: the question.
          data: where files are.
          hint: whether the blocks, too, show their answers as hints.

        Raises:
          UserError: there is no such file.
        """

    @abc.abstractmethod
    def query(self, record: Record, *, hint: bool = False) -> str:
        """Returns the question alone, up to where the model goes on.

        Args:
          record: the question.
          hint: whether the right answer is shown.
        """

    @abc.abstractmethod
    def holds_hint(self, text: str, record: Record) -> bool:
        """Whether a text shows the right answer in the way in which a hint does."""

    def prompt(self, record: Record, data: RunData, *, hint: bool = False) -> str:
        """Returns the whole prompt: demonstrations, blank lines between them, and the question.

        A demonstration that solves the question itself is left out: those that are published are
        questions of the training sets.
        """
        blocks = [
            block
            for block in self.demonstrations(record, data, hint=hint)
            if record.question not in block
        ]
        return "\n\n".join([*blocks, self.query(record, hint=hint)])


@dataclasses.dataclass(frozen=True)
class Commonsense(Form):
    """CommonsenseQA's: options on lines of their own; the hint marks the right one, ` (CORRECT)`.

    Attributes:
      few_shot: whether the published demonstrations stand before the question (7; the paper's text
        says 10).
      stop: the official code reads one line.
    """

    few_shot: bool = True
    stop: Sequence[str] = ("\n",)

    def demonstrations(self, record: Record, data: RunData, *, hint: bool) -> Sequence[str]:
        return _published("commonsenseqa", hint, data) if self.few_shot else ()

    def query(self, record: Record, *, hint: bool = False) -> str:
        if record.kind != "choice":
            raise UserError(
                f"{record.id!r} is of kind {record.kind!r}, but the form Commonsense asks choices: "
                "set FORM to another one, such as @forms.Questions()"
            )
        return star_choice_prompt(record, hint=hint)

    def holds_hint(self, text: str, record: Record) -> bool:
        return " (CORRECT)" in text


@dataclasses.dataclass(frozen=True)
class GradeSchool(Form):
    """GSM8K's: `Q: {question}\\nA:`; the hint is the answer alone, ` (72)` after the question.

    The official code shows the query's whole gold solution there, in which its own demonstrations
    are otherwise.

    Attributes:
      few_shot: whether the six published demonstrations stand before the question.
      stop: where the next question would begin.
    """

    few_shot: bool = True
    stop: Sequence[str] = ("\n\n", "\nQ:")

    def demonstrations(self, record: Record, data: RunData, *, hint: bool) -> Sequence[str]:
        return _published("gsm", hint, data) if self.few_shot else ()

    def query(self, record: Record, *, hint: bool = False) -> str:
        return star_gsm8k_prompt(record, hint=hint)

    def holds_hint(self, text: str, record: Record) -> bool:
        return f"{record.question} ({record.answer})" in text


@dataclasses.dataclass(frozen=True)
class AdditionScratchpad(Form):
    """Sums with scratchpads; the hint is the answer on the line of the target, `Target: 8 8 3`.

    In the official code the query's hint is the carry form, `Target: 0 8 8 3`, while its
    demonstrations show `8 8 3`; here both do.

    Attributes:
      num_demonstrations: solved sums of as many digits before each, drawn by question; 10 in the
        paper. A model that was trained on scratchpads needs none.
      seed: of the draw.
      stop: demonstrations are divided by a blank line.
    """

    num_demonstrations: int = 10
    seed: int = 0
    stop: Sequence[str] = ("\n\n",)

    def demonstrations(self, record: Record, data: RunData, *, hint: bool) -> Sequence[str]:
        digits = len(record.question.split("+")[0].split())
        problems = Addition(seed=self.seed, min_digits=digits, max_digits=digits)
        draws = Draws("star demonstrations", self.seed, record.id)
        blocks: dict[str, str] = {}
        while len(blocks) < self.num_demonstrations:
            other = addition(problems, "train", draws.below(1 << 20))
            if other.question != record.question:
                _, target = star_addition(other, data)
                blocks[other.question] = f"{self.query(other, hint=hint)}{target}"
        return list(blocks.values())

    def query(self, record: Record, *, hint: bool = False) -> str:
        return star_addition_prompt(record, hint=hint) + "\n"

    def holds_hint(self, text: str, record: Record) -> bool:
        return f"Target: {record.answer}" in text


@dataclasses.dataclass(frozen=True)
class Questions(Form):
    """Any task's: `Q: {question} (A) x (B) y\\nA:`; the hint is the answer behind the question.

    Attributes:
      few_shot_file: a text of solved blocks divided by blank lines, as they are to stand before the
        question; None: none.
      hinted_few_shot_file: the same with hints; None: the same blocks without.
      stop: where the next question would begin.
    """

    few_shot_file: str | None = None
    hinted_few_shot_file: str | None = None
    stop: Sequence[str] = ("\n\n", "\nQ:")

    def demonstrations(self, record: Record, data: RunData, *, hint: bool) -> Sequence[str]:
        name = (self.hinted_few_shot_file if hint else None) or self.few_shot_file
        return () if name is None else data.once(("star blocks", name), lambda: _blocks(name))

    def query(self, record: Record, *, hint: bool = False) -> str:
        mark = f" {self._mark(record)}" if hint else ""
        return f"Q: {question_with_options(record)}{mark}\nA:"

    def holds_hint(self, text: str, record: Record) -> bool:
        return f"{question_with_options(record)} {self._mark(record)}" in text

    def _mark(self, record: Record) -> str:
        return f"({record.answer})"


@dataclasses.dataclass(frozen=True)
class StepByStep(Form):
    """The tasks' `cot_zero_shot`, for a model that knows it; the hint is the answer in parentheses.

    Attributes:
      stop: where another question would begin.
    """

    stop: Sequence[str] = ("\n\n", "\nQ:")

    def demonstrations(self, record: Record, data: RunData, *, hint: bool) -> Sequence[str]:
        return ()

    def query(self, record: Record, *, hint: bool = False) -> str:
        mark = f" ({record.answer})" if hint else ""
        return f"Q: {question_with_options(record)}{mark}\n{STEP_BY_STEP}"

    def holds_hint(self, text: str, record: Record) -> bool:
        return f"{question_with_options(record)} ({record.answer})" in text


def _published(task: str, hint: bool, data: RunData) -> Sequence[str]:
    """Returns STaR's own demonstrations, read once a run."""
    name = "prompts_answer_key" if hint else "prompts"
    return data.once(("star prompts", task, name), lambda: _read_published(task, name, data))


def _read_published(task: str, name: str, data: RunData) -> Sequence[str]:
    _, path = data.find_file(
        "STaR's demonstrations",
        [PROMPTS_FILE],
        "the GitHub project ezelikman/STaR, the files prompts*.txt of its task folders, a row a "
        "file with `task`, `name` and the list `examples`",
    )
    rows: list[Mapping[str, Any]] = [row for _, row in read_json_lines(path)]
    for row in rows:
        if (row.get("task"), row.get("name")) == (task, name) and row.get("examples"):
            return tuple(row["examples"])
    known = sorted({f"{row.get('task')}/{row.get('name')}" for row in rows})
    raise UserError(f"{path}: no row holds {task}/{name}.{nearest(f'{task}/{name}', known)}")


def _blocks(name: str) -> Sequence[str]:
    blocks = [block.strip("\n") for block in read_text(expanded(name)).split("\n\n")]
    found = tuple(block for block in blocks if block.strip())
    if not found:
        raise UserError(f"{name}: holds no demonstrations, which blank lines divide")
    return found
