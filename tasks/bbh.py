"""BIG-Bench Hard: 27 tasks for evaluation only (Suzgun et al. 2022).

Every record carries the BIG-bench canary. Demonstrations are the three of the published prompt of
the same task; `bbh_published_prompt` is that prompt to the byte, `bbh_published_prompt_answer_only`
the prompt without its chains of thought.
"""

from __future__ import annotations

import functools
import re
from dataclasses import replace

from tlm_jax.data.demonstrations import DemonstrationPool
from tlm_jax.data.file_records import file_records, official, uniform
from tlm_jax.data.formatted import EMBEDDED_VOCABULARY, MappedRecords, register_formats
from tlm_jax.data.official.collections import read_bbh, read_bbh_prompts
from tlm_jax.data.record_sets import LoadedRecords
from tlm_jax.data.records import Record
from tlm_jax.data.run_data import RunData
from tlm_jax.data.tasks import register_task
from tlm_jax.errors import UserError

ORIGIN = "the GitHub project suzgunmirac/BIG-Bench-Hard"
EVALUATION_ONLY = (
    "it is for evaluation only (its rows carry the BIG-bench canary); it must not be trained on."
)

CLOSED_ANSWERS = {
    "boolean_expressions": ("True", "False"),
    "sports_understanding": ("yes", "no"),
    "web_of_lies": ("Yes", "No"),
}
"""Options of the tasks that have them without listing them in the question."""

_QUESTIONS = file_records(
    "bbh",
    f"{ORIGIN}, folder bbh",
    {"test": [uniform("bbh"), *official(read_bbh, "test", "bbh", "BIG-Bench-Hard/bbh")]},
    unreadable={"train": EVALUATION_ONLY, "validation": EVALUATION_ONLY},
)


def with_options(record: Record) -> Record:
    """Returns a record with its options, for rank classification; the question keeps its list.

        "...\nOptions:\n(A) x\n(B) y" -> ("(A) x", "(B) y")
        "...\nOptions:\n- Yes\n- No"  -> ("Yes", "No")

    Four tasks ask for an answer in words or numbers and have none: `dyck_languages`,
    `multistep_arithmetic_two`, `object_counting` and `word_sorting`.
    """
    _, mark, block = record.question.partition("\nOptions:\n")
    listed = [line.removeprefix("- ").strip() for line in block.split("\n") if line.strip()]
    options = tuple(listed) if mark else CLOSED_ANSWERS.get(record.meta["task"])
    return replace(record, options=options)


RECORDS = LoadedRecords(
    "bbh",
    {"test": lambda data: [with_options(r) for r in _QUESTIONS.records("test", data)]},
    unreadable=_QUESTIONS.unreadable,
)


class PublishedDemonstrations(DemonstrationPool):
    """The demonstrations of a record's task in the published prompt, in their order."""

    def draw(self, record: Record, data: RunData, **unused: object) -> tuple[Record, ...]:
        task = record.meta["task"]
        return _demonstrations(task, _prompt(task, data))


def published_prompt(record: Record, data: RunData) -> tuple[str, str]:
    """Returns the authors' prompt for a question, and the line that ends its gold answer."""
    prompt = _prompt(record.meta["task"], data)
    query = f"Q: {record.question}\nA: Let's think step by step.\n"
    return f"{prompt}\n\n{query}", f"So the answer is {record.answer}."


def published_answer_only(record: Record, data: RunData) -> tuple[str, str]:
    """Returns the authors' prompt without its chains of thought, and the gold answer.

    The first line says what the task is; each demonstration is `Q: {q}\\nA: {answer}`.
    """
    task = record.meta["task"]
    prompt = _prompt(task, data)
    shown = (f"Q: {d.question}\nA: {d.answer}" for d in _demonstrations(task, prompt))
    description = prompt.partition("\n\nQ: ")[0]
    return "\n\n".join([description, *shown, f"Q: {record.question}\nA:"]), record.answer


def _prompt(task: str, data: RunData) -> str:
    """Returns the published prompt of a task, without the canary."""
    names = ["bbh_cot_prompts.jsonl", "cot-prompts", "BIG-Bench-Hard/cot-prompts"]
    _, path = data.find_file("bbh, the prompts", names, f"{ORIGIN}, folder cot-prompts")
    prompts = data.once(("bbh, the prompts", path), lambda: read_bbh_prompts(path))
    if task not in prompts:
        raise UserError(f"bbh: there is no published prompt for the task {task!r} in {path}.")
    return prompts[task]


@functools.lru_cache(maxsize=64)
def _demonstrations(task: str, prompt: str) -> tuple[Record, ...]:
    """Returns the solved questions of a prompt as records."""
    _, *blocks = re.split(r"\n\nQ: ", prompt)
    return tuple(_demonstration(task, i, block) for i, block in enumerate(blocks))


def _demonstration(task: str, index: int, block: str) -> Record:
    match = re.fullmatch(
        r"(?P<question>.*?)\nA: Let's think step by step\.\s+(?P<rationale>.*?)\s*"
        r"[Ss]o the answer is (?P<answer>.+?)\.?\s*",
        block,
        re.DOTALL,
    )
    if match is None:
        raise UserError(f"bbh: demonstration {index} of the prompt of {task!r} is not understood.")
    return Record(
        id=f"bbh-prompt-{task}-{index}",
        dataset="bbh_cot_prompts",
        split="prompt",
        kind="text",
        question=match["question"],
        options=None,
        answer=match["answer"],
        rationale=match["rationale"],
        meta={"task": task},
    )


register_formats(
    "bbh",
    RECORDS,
    pool=PublishedDemonstrations(RECORDS, "test"),
    description="BIG-Bench Hard, evaluation only",
)
register_task(
    "bbh_published_prompt",
    MappedRecords(RECORDS, published_prompt),
    vocabulary=EMBEDDED_VOCABULARY,
    description="BIG-Bench Hard with the authors' chain-of-thought prompts, evaluation only",
)
register_task(
    "bbh_published_prompt_answer_only",
    MappedRecords(RECORDS, published_answer_only),
    vocabulary=EMBEDDED_VOCABULARY,
    description="BIG-Bench Hard with the authors' prompts less their chains of thought",
)
