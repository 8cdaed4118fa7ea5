"""The held-out examples of a task, tokenized for the model and with what grading needs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Literal

import numpy as np

from tlm_jax.data.pipeline.reader import Reader
from tlm_jax.data.pipeline.shuffle import chosen
from tlm_jax.data.pipeline.store import open_readers
from tlm_jax.data.reading import Reading, start_id, task_reading
from tlm_jax.data.run_data import RunData
from tlm_jax.errors import UserError
from tlm_jax.ragged import Ragged, TokenizedExamples, spans
from tlm_jax.vocabularies import Vocabulary

TooLong = Literal["error", "keep_end"]


@dataclasses.dataclass(frozen=True)
class EvalSet:
    """A task's examples in their order.

    Attributes:
      task: its name.
      examples: token ids with EOS where the task says so, not cut; and the text they come from.
      vocabulary: what they are written in.
      feature_lengths: most tokens of each feature that the model gets.
      cut_prompts: how many prompts lost their beginning (`fit_prompts`).
      reading: how the model reads prompts and answers; None: as the task says.
    """

    task: str
    examples: TokenizedExamples
    vocabulary: Vocabulary
    feature_lengths: Mapping[str, int]
    cut_prompts: int = 0
    reading: Reading | None = None

    @property
    def start_id(self) -> int | None:
        """What the decoder reads first; None: the first token of the prompt."""
        return start_id(self.reading, self.vocabulary, tuple(self.examples.features))

    @property
    def plain(self) -> bool:
        """Whether prompt and answer are read as one text."""
        return (self.reading or task_reading(self.vocabulary)).plain


def load_eval_sets(
    name: str,
    split: str,
    *,
    feature_lengths: Mapping[str, int],
    num_examples: int | None = None,
    examples_seed: int | None = 0,
    vocabulary: Vocabulary | None = None,
    data: RunData | None = None,
    reading: Reading | None = None,
) -> list[EvalSet]:
    """Loads `num_examples` of a task, or of each task of a mixture, in the task's order.

    Args:
      name: a registered task or mixture.
      split: one of the task's splits.
      feature_lengths: most tokens of each feature of the task.
      num_examples: None means all.
      examples_seed: which ones (`data.shuffle.chosen`); None takes the first, as an endless split
        does.
      vocabulary: replaces the task's own.
      data: where the run's data are; None for what a run has by default.
      reading: how the model reads prompts and answers; None: as the task says.

    Raises:
      UserError: an unknown task or split, an endless split without `num_examples`, or an empty
        split.
    """
    _, readers = open_readers(
        name,
        split,
        feature_lengths=feature_lengths,
        vocabulary=vocabulary,
        data=data,
        reading=reading,
    )
    return [
        EvalSet(
            task,
            _read(reader, split, num_examples, examples_seed),
            reader.vocabulary,
            dict(feature_lengths),
            reading=reading,
        )
        for task, reader in readers.items()
    ]


def fit_prompts(eval_set: EvalSet, limit: int, too_long: TooLong, why: str) -> EvalSet:
    """Returns the set with prompts of at most `limit` tokens.

    Args:
      eval_set: with prompts of any length, each with its end token.
      limit: most tokens of a prompt, BOS not counted.
      too_long: what becomes of a longer one: an error, or its end is kept and it is counted.
      why: what sets the limit, for the error.

    Raises:
      UserError: a prompt is too long and that is an error, or a prompt is empty.
    """
    inputs = eval_set.examples.features.get("inputs")
    if inputs is None:
        return eval_set
    _check_not_empty(eval_set, inputs)
    long = np.flatnonzero(inputs.lengths > limit)
    if long.size and too_long == "error":
        first = int(long[0])
        raise UserError(
            f"{long.size:,} of {len(inputs):,} prompts of {eval_set.task} are too long, the first "
            f"is {eval_set.examples.ids[first]!r} with {inputs.lengths[first]:,} tokens: {why} "
            f"leaves room for {limit:,}. Give them more room, or set TOO_LONG to 'keep_end' to "
            "keep the end of such prompts"
        )
    kept = np.minimum(inputs.lengths, limit)
    ends = Ragged(inputs.values[spans(inputs.starts + inputs.lengths - kept, kept)], kept)
    features = {**eval_set.examples.features, "inputs": ends}
    return dataclasses.replace(
        eval_set,
        examples=dataclasses.replace(eval_set.examples, features=features),
        feature_lengths={**eval_set.feature_lengths, "inputs": limit},
        cut_prompts=int(long.size),
    )


def _check_not_empty(eval_set: EvalSet, inputs: Ragged) -> None:
    for index, record in enumerate(eval_set.examples.records):
        text = record.get("inputs")
        empty = not text.strip() if isinstance(text, str) else not inputs.lengths[index]
        if empty:
            raise UserError(
                f"{eval_set.task}: the prompt of {eval_set.examples.ids[index]!r} is empty; give "
                "it text or leave it out"
            )


def _read(
    reader: Reader, split: str, num_examples: int | None, examples_seed: int | None
) -> TokenizedExamples:
    name = reader.name
    if reader.num_examples is None and num_examples is None:
        raise UserError(
            f"split {split!r} of evaluation task {name!r} has no end: set num_examples of the "
            "evaluation, to 200 say"
        )
    indices = chosen(reader.num_examples, num_examples, examples_seed)
    if not indices.size:
        raise UserError(f"split {split!r} of evaluation task {name!r} has no examples to take")
    return reader.read(indices)
