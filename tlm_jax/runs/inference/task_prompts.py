"""The prompts of a task's examples, in text and as the model reads them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
from jaxtyping import Integer

from tlm_jax.data import tasks
from tlm_jax.data.pipeline.reader import Reader
from tlm_jax.data.pipeline.shuffle import chosen
from tlm_jax.data.pipeline.store import open_readers
from tlm_jax.data.reading import Reading
from tlm_jax.data.run_data import RunData
from tlm_jax.data.sources import Example, option_texts
from tlm_jax.errors import UserError
from tlm_jax.ragged import TokenizedExamples
from tlm_jax.runs.inference.config import PromptsConfig
from tlm_jax.runs.inference.prompt import Prompt, Tokens
from tlm_jax.vocabularies import Vocabulary


@dataclasses.dataclass(frozen=True)
class TaskExamples:
    """The examples of a task that a run reads.

    Attributes:
      task: its name.
      split: of the task.
      indices: the examples' places in it.
      examples: the same, tokenized.
      reader: of the task.
    """

    task: str
    split: str
    indices: Integer[np.ndarray, "n"]
    examples: TokenizedExamples
    reader: Reader

    def prompts(self) -> Iterator[Prompt]:
        """Yields the prompt of each example, which have inputs."""
        found = zip(self.indices.tolist(), self.examples.ids, self.examples.records)
        for (index, example_id, record), token_ids in zip(found, self.tokens("inputs")):
            yield Prompt(
                id=example_id or str(index),
                place=f"task {self.task!r}, split {self.split!r}, example {index}",
                text=self.text(record, "inputs"),
                token_ids=token_ids,
                options=option_texts(record) or None,
                as_read=self.reader.prompt_text(record),
                question=str(record["question"]) if "question" in record else None,
                **_gold_of(record),
            )

    def tokens(self, feature: str) -> list[Tokens]:
        """Returns the tokens of a feature, an array an example."""
        part = self.examples.features[feature]
        return np.split(part.values, np.cumsum(part.lengths)[:-1]) if len(part) else []

    def text(self, record: Example, feature: str) -> str:
        """Returns a feature as text; SeqIO's own tasks have tokens in its place."""
        value = record[feature]
        return value if isinstance(value, str) else self.reader.vocabulary.decode(value.tolist())


def task_examples(
    config: PromptsConfig, vocabulary: Vocabulary | None, reading: Reading | None
) -> list[TaskExamples]:
    """Reads the examples of each task below a task or mixture.

    Args:
      config: which ones.
      vocabulary: of the model; None: the task's.
      reading: how the model reads prompts; None: as the task was made.

    Raises:
      UserError: there is no such task or split, or it has no end.
    """
    tasks.load_tasks(config.modules)
    assert config.mixture_or_task_name is not None
    # Only SeqIO's own tasks are cut to these; what is too long is told or cut later, by us.
    lengths = {"inputs": 1 << 20, "targets": 1 << 20}
    _, readers = open_readers(
        config.mixture_or_task_name,
        config.split,
        feature_lengths=lengths,
        vocabulary=vocabulary,
        data=RunData(config.data_dir, demonstrations=config.demonstrations),
        reading=reading,
    )
    found = []
    for name, reader in readers.items():
        if reader.num_examples is None and config.num_examples is None:
            raise UserError(f"split {config.split!r} of {name!r} has no end: set NUM_EXAMPLES")
        indices = chosen(reader.num_examples, config.num_examples, config.examples_seed)
        found.append(TaskExamples(name, config.split, indices, reader.read(indices), reader))
    return found


def _gold_of(record: Example) -> dict[str, Any]:
    gold = str(record["answer"]) if "answer" in record and "kind" in record else ""
    return {"gold": gold, "kind": str(record["kind"])} if gold else {}
