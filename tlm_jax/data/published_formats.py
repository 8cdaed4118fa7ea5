"""Formats of single publications: STaR's prompts, LEMA's instruction."""

from __future__ import annotations

from collections.abc import Sequence

from tlm_jax.data.demonstrations import DemonstrationPool
from tlm_jax.data.formats import clean_rationale
from tlm_jax.data.records import LETTERS, Record
from tlm_jax.data.run_data import RunData


def star_addition(
    record: Record,
    data: RunData,
    *,
    scratch: bool = True,
    pool: DemonstrationPool | None = None,
) -> tuple[str, str]:
    """Returns inputs and targets of a sum as STaR writes it; the last line is the sum.

    Inputs are `Input:\\n6 2 4 + 2 5 9\\nTarget:`, after demonstrations from `pool`, if any, which
    are divided by blank lines.
    """
    demonstrations = pool.draw(record, data, with_rationale=scratch) if pool else ()
    blocks = [f"{star_addition_prompt(d)}\n{_addition_target(d, scratch)}" for d in demonstrations]
    return "\n\n".join([*blocks, star_addition_prompt(record)]), _addition_target(record, scratch)


def star_addition_prompt(record: Record, *, hint: bool = False) -> str:
    """Returns `Input:\\n6 2 4 + 2 5 9\\nTarget:`; the hint is the sum behind it, ` 8 8 3`."""
    mark = f" {record.answer}" if hint else ""
    return f"Input:\n{record.question}\nTarget:{mark}"


def star_choice_prompt(
    record: Record, demonstrations: Sequence[str] = (), *, hint: bool = False
) -> str:
    """Returns STaR's CommonsenseQA prompt, up to and including `A:`.

    Args:
      record: a choice.
      demonstrations: solved blocks as `star_choice_demonstration` gives them.
      hint: put ` (CORRECT)` after the right choice, for rationalization.
    """
    assert record.options is not None
    lines = [f"Q: {record.question}", "Answer Choices:"]
    for letter, option in zip(LETTERS, record.options, strict=False):
        mark = " (CORRECT)" if hint and letter == record.answer else ""
        lines.append(f"({letter.lower()}) {option}{mark}")
    return "\n\n".join([*demonstrations, "\n".join([*lines, "A:"])])


def star_choice_target(record: Record, *, rationale: str | None = None) -> str:
    """Returns ` {rationale} Therefore, the answer is {text} ({letter}).`; without one, ` (c).`."""
    letter = record.answer.lower()
    if rationale is None:
        return f" ({letter})."
    return f" {rationale} Therefore, the answer is {record.answer_text()} ({letter})."


def star_gsm8k_prompt(
    record: Record, demonstrations: Sequence[str] = (), *, hint: bool = False
) -> str:
    """Returns STaR's GSM8K prompt, `Q: {question}\\nA:` after the demonstrations.

    The hint is the final answer alone, ` (72)` after the question. (The official code shows the
    query's whole gold solution there.)
    """
    mark = f" ({record.answer})" if hint else ""
    return "\n\n".join([*demonstrations, f"Q: {record.question}{mark}\nA:"])


def star_gsm8k_target(record: Record) -> str:
    """Returns ` {rationale}\\n#### {n}` with GSM8K's calculator marks kept."""
    return f" {record.get('rationale')}\n#### {record.answer}"


def lema_cot(record: Record) -> tuple[str, str]:
    """Returns LEMA's chain-of-thought pair for a numeric question (Figure 6 of the paper).

    The rationale's lines are joined by spaces, without calculator marks.
    """
    rationale = " ".join(clean_rationale(record.get("rationale")).split("\n"))
    return lema_prompt(record), f"{rationale} The answer is {record.answer}."


def lema_question(record: Record, data: RunData) -> tuple[str, str]:
    """Returns LEMA's prompt, and the gold chain of thought; without a rationale, the answer alone.

    For evaluation: SVAMP and ASDiv have no rationales, of CommonsenseQA only answers are published.
    """
    if record.kind == "choice":
        return lema_choice_prompt(record), f"The answer is {record.answer_text()}."
    if not record.rationale:
        return lema_prompt(record), f"The answer is {record.answer}."
    return lema_cot(record)


def lema_prompt(record: Record) -> str:
    """Returns what LEMA asks a mathematical question with; it ends with a line break."""
    return (
        "Please solve the following math problem.\n"
        f"Question: {record.question}\n"
        "Answer: Let's think step by step.\n"
    )


def lema_choice_prompt(record: Record) -> str:
    """Returns what LEMA asks a commonsense question with; it ends with a line break."""
    return (
        "Please answer the following commonsense question. Please first explain each candidate "
        "answer, then select only one answer that is most relevant to the question and provide "
        f"reasons.\nQuestion: {record.question}\n"
        f"Candidate Answers: {', '.join(record.options or ())}.\n"
        "Answer: Let's think step by step.\n"
    )


def _addition_target(record: Record, scratch: bool) -> str:
    return f"{record.get('rationale')}\n{record.answer}" if scratch else record.answer
