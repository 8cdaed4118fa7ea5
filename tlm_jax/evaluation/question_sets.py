"""Questions of a set that is named on a command line: a task's split, or a file of records."""

from __future__ import annotations

from tlm_jax.data import tasks
from tlm_jax.data.records import read_records
from tlm_jax.data.run_data import RunData
from tlm_jax.data.sources import Example, option_texts
from tlm_jax.errors import UserError
from tlm_jax.evaluation.contamination import question_text


def named_questions(name: str, data: RunData, split: str = "train") -> list[str]:
    """Returns the questions of "TASK:SPLIT" or of a file of records, with their options.

    Args:
      name: a file's ends in .jsonl or .jsonl.gz.
      data: where the run's data are.
      split: of a task that is named alone.

    Raises:
      UserError: there is no such task, split or file, or the split has no end.
    """
    if name.endswith((".jsonl", ".jsonl.gz")):
        return [question_text(record.question, record.options) for record in read_records(name)]
    task_name, _, named_split = name.partition(":")
    source = tasks.get_task(task_name).source.for_run(data)
    split = named_split or split
    count = source.num_examples(split)
    if count is None:
        raise UserError(f"{name}: the split {split!r} has no end: nothing can be looked up in it")
    return [example_question(source.example(split, index)) for index in range(count)]


def example_question(example: Example) -> str:
    """Returns the question of an example with its options, else its inputs."""
    question = str(example.get("question", example.get("inputs", "")))
    return question_text(question, option_texts(example))
