"""The four formats: how a record, with demonstrations or without, becomes inputs and targets.

    answer_zero_shot   Q: {q} A:
    cot_zero_shot      Q: {q}\\nLet's think step by step
    answer_in_context  k times Q: {q'}\\nA: The answer is {n'}
                       \\n\\n, then Q: {q}\\nA:
    cot_in_context     k times Q: {q'}\\nLet's think step by step\\n{cot'}\\nThe answer is {n'}
                       \\n\\n, then Q: {q}\\nLet's think step by step

are the inputs; targets are `The answer is {n}`, after `{cot}\\n` in the chain-of-thought formats.
They are those of FlanT5 specialization (Fu et al. 2023, its code's `data_utils.py`). Departures:
text that holds ': ' stays whole (the official code loses it), and choices, which the paper does not
treat, put their options inline as TeacherLM does, `{question} (A) x (B) y`, and are answered by the
letter, `The answer is (A)`: short, and the same whatever the options say. Booleans are answered
`yes` or `no`.

The strings are the same for encoder-decoder and decoder-only models: a decoder-only model reads
inputs and targets one after the other, divided by EOS or by a line break, as it was made to.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from tlm_jax.data.records import LETTERS, Record
from tlm_jax.errors import UserError, nearest

ANSWER_MARKER = "The answer is "
STEP_BY_STEP = "Let's think step by step"


@dataclass(frozen=True)
class Format:
    """One of the four formats.

    Attributes:
      cot: whether the chain of thought comes before the answer.
      in_context: whether demonstrations come before the question.
    """

    cot: bool
    in_context: bool

    @property
    def name(self) -> str:
        cot = "cot" if self.cot else "answer"
        return f"{cot}_in_context" if self.in_context else f"{cot}_zero_shot"

    def inputs(self, record: Record, demonstrations: Sequence[Record] = ()) -> str:
        """Returns what the model reads."""
        if demonstrations and not self.in_context:
            raise UserError(f"The format {self.name} takes no demonstrations.")
        query = f"Q: {question_with_options(record)}"
        if self.cot:
            query += f"\n{STEP_BY_STEP}"
        else:
            query += "\nA:" if self.in_context else " A:"
        return "".join(self.demonstration(demo) for demo in demonstrations) + query

    def demonstration(self, record: Record) -> str:
        """Returns a solved question as it stands before the query, blank line included."""
        question = question_with_options(record)
        if self.cot:
            return f"Q: {question}\n{STEP_BY_STEP}\n{self.targets(record)}\n\n"
        return f"Q: {question}\nA: {self.targets(record)}\n\n"

    def targets(self, record: Record) -> str:
        """Returns what the model is to write; without a rationale, the answer alone."""
        answer = ANSWER_MARKER + final_answer(record)
        rationale = clean_rationale(record.rationale or "") if self.cot else ""
        return f"{rationale}\n{answer}" if rationale else answer


FORMATS = {
    form.name: form
    for form in (
        Format(cot=False, in_context=False),
        Format(cot=True, in_context=False),
        Format(cot=False, in_context=True),
        Format(cot=True, in_context=True),
    )
}


def get_format(name: str) -> Format:
    """Returns a format by name."""
    if name not in FORMATS:
        raise UserError(
            f"Unknown format {name!r}.{nearest(name, FORMATS)} Known: {', '.join(FORMATS)}."
        )
    return FORMATS[name]


def question_with_options(record: Record) -> str:
    """Returns the question, and for a choice its options inline: `{question} (A) x (B) y`."""
    if record.kind != "choice" or record.options is None:
        return record.question
    return f"{record.question} {inline_options(record.options)}"


def inline_options(options: Sequence[str]) -> str:
    """Returns `(A) x (B) y`; line breaks and runs of spaces within an option become one space."""
    texts = (" ".join(option.split()) for option in options)
    return " ".join(f"({letter}) {text}" for letter, text in zip(LETTERS, texts, strict=False))


def final_answer(record: Record) -> str:
    """Returns the answer as targets write it: the letter of a choice in parentheses."""
    return f"({record.answer})" if record.kind == "choice" else record.answer


def clean_rationale(rationale: str) -> str:
    """Returns a rationale without GSM8K's calculator marks `<<48/2=24>>` and outer white space."""
    return re.sub(r"<<[^<>\n]*>>", "", rationale).strip()
