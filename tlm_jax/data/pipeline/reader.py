"""Tokenized examples by index: what every reader of a task gives."""

from __future__ import annotations

import abc

import numpy as np
from jaxtyping import Int, Integer

from tlm_jax.data.reading import divider_ids
from tlm_jax.data.sources import Example
from tlm_jax.ragged import Ragged, TokenizedExamples
from tlm_jax.vocabularies import Vocabulary


class Reader(abc.ABC):
    """Tokenized examples of one split of one task, by index.

    Attributes:
      name: the task's.
      features: what `read` gives tokens for.
      vocabulary: of the targets.
      num_examples: in the split; None for an endless one.
    """

    name: str
    features: tuple[str, ...]
    vocabulary: Vocabulary
    num_examples: int | None

    @abc.abstractmethod
    def read(self, indices: Integer[np.ndarray, "n"]) -> TokenizedExamples:
        """Returns the examples at `indices`, in that order, with EOS, not trimmed."""

    def prompt_text(self, record: Example) -> str:
        """Returns the inputs of a record as the model reads them, but for special tokens."""
        text = record["inputs"]
        return text if isinstance(text, str) else self.vocabulary.decode(text.tolist())


class PlainReader(Reader):
    """A SeqIO task whose inputs end with EOS, as a model reads them that wants plain text."""

    def __init__(self, base: Reader):
        self.name, self.features = base.name, base.features
        self.vocabulary, self.num_examples = base.vocabulary, base.num_examples
        self._base = base
        self._divider = divider_ids(base.vocabulary)

    def read(self, indices: Integer[np.ndarray, "n"]) -> TokenizedExamples:
        examples = self._base.read(indices)
        if "inputs" not in self.features:
            return examples
        inputs = examples.features["inputs"]
        plain = [self._without_end(inputs[i]) for i in range(len(inputs))]
        features = {**examples.features, "inputs": Ragged.from_arrays(plain, np.int32)}
        return TokenizedExamples(features, examples.ids, examples.records)

    def prompt_text(self, record: Example) -> str:
        return self._base.prompt_text(record) + self.vocabulary.decode(self._divider)

    def _without_end(self, ids: Int[np.ndarray, "n"]) -> Int[np.ndarray, "m"]:
        if not len(ids) or ids[-1] != self.vocabulary.eos_id:
            return ids
        return np.concatenate([ids[:-1], self._divider])
