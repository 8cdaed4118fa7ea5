"""The held-out examples of a task, tokenized for the model and with what grading needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tlm_jax.data.ragged import TokenizedExamples
from tlm_jax.data.store import Reader, open_readers
from tlm_jax.data.vocabularies import Vocabulary
from tlm_jax.errors import UserError


@dataclass(frozen=True)
class EvalSet:
    """A task's examples in their order.

    Attributes:
      task: its name.
      examples: token ids with EOS where the task says so, not cut; and the text they come from.
      vocabulary: what they are written in.
      feature_lengths: most tokens of each feature that the model gets.
    """

    task: str
    examples: TokenizedExamples
    vocabulary: Vocabulary
    feature_lengths: Mapping[str, int]


def load_eval_sets(
    name: str,
    split: str,
    *,
    feature_lengths: Mapping[str, int],
    num_examples: int | None = None,
    vocabulary: Vocabulary | None = None,
) -> list[EvalSet]:
    """Loads the first `num_examples` of a task, or of each task of a mixture.

    Args:
      name: a registered task or mixture.
      split: one of the task's splits.
      feature_lengths: most tokens of each feature of the task.
      num_examples: None means all.
      vocabulary: replaces the task's own.

    Raises:
      UserError: an unknown task or split, an endless split without `num_examples`, or an empty
        split.
    """
    _, readers = open_readers(name, split, feature_lengths=feature_lengths, vocabulary=vocabulary)
    return [
        EvalSet(task, _read(reader, split, num_examples), reader.vocabulary, dict(feature_lengths))
        for task, reader in readers.items()
    ]


def _read(reader: Reader, split: str, num_examples: int | None) -> TokenizedExamples:
    name = reader.name
    if reader.num_examples is None and num_examples is None:
        raise UserError(
            f"split {split!r} of evaluation task {name!r} has no end: set num_examples of the "
            "evaluation, to 200 say"
        )
    count = min(n for n in (reader.num_examples, num_examples) if n is not None)
    if count < 1:
        raise UserError(f"split {split!r} of evaluation task {name!r} has no examples to take")
    return reader.read(np.arange(count))
