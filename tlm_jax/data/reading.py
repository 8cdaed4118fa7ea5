"""A model's reading of prompts and what follows: with or without BOS, divided by EOS or plain."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from tlm_jax.vocabularies import Vocabulary


@dataclasses.dataclass(frozen=True)
class Reading:
    """What stands around a prompt; the same wherever a model reads text.

    Attributes:
      start_id: what the decoder reads first. None, for decoder-only models: the first token of the
        prompt, which is then read and not predicted.
      prompt_eos: whether EOS ends prompts, where their task has them end with it. Otherwise a
        decoder-only model reads prompt and answer as plain text, with a line break between them.
      one_sequence: whether prompt and answer are one sequence (decoder-only).
    """

    start_id: int | None
    prompt_eos: bool
    one_sequence: bool = True

    @property
    def plain(self) -> bool:
        """Whether prompt and answer are read as one text."""
        return self.one_sequence and not self.prompt_eos

    def prompt_text(self, inputs: str) -> str:
        """Returns a task's inputs as they stand before an answer."""
        return inputs + DIVIDER if self.plain and not inputs[-1:].isspace() else inputs

    def encode(
        self, vocabulary: Vocabulary, prompts: Sequence[str], answers: Sequence[str]
    ) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Returns the tokens of prompts, and of the answers behind them, without BOS and EOS.

        Args:
          vocabulary: of the model.
          prompts: as `prompt_text` gives them.
          answers: as many.
        """
        if not self.plain:
            return vocabulary.encode_batch(prompts), vocabulary.encode_batch(answers)
        contexts, parts, _ = encode_continuations(vocabulary, prompts, answers)
        return contexts, parts


DIVIDER = "\n"
"""Stands between a task's inputs and its targets in plain text."""


def task_reading(vocabulary: Vocabulary) -> Reading:
    """Returns how examples are read where nothing is known of a model: as their task says."""
    return Reading(vocabulary.bos_id, prompt_eos=True)


def start_id(
    reading: Reading | None, vocabulary: Vocabulary, features: Sequence[str]
) -> int | None:
    """Returns what the decoder reads first; None for the first token of the prompt.

    Where there is no prompt something has to stand in its place: BOS, else EOS.
    """
    chosen = (reading or task_reading(vocabulary)).start_id
    return vocabulary.bos_id if chosen is None and "inputs" not in features else chosen


def encode_continuations(
    vocabulary: Vocabulary, contexts: Sequence[str], texts: Sequence[str]
) -> tuple[list[np.ndarray], list[np.ndarray], int]:
    """Returns tokens of contexts and of the texts behind them, as a model meets them in one text.

    Both are encoded together and parted where the context's own tokens end; where no token ends
    there, they are encoded apart.

    Returns:
      The contexts' tokens, the texts', and how many were encoded apart.
    """
    before = vocabulary.encode_batch(contexts)
    wholes = vocabulary.encode_batch([a + b for a, b in zip(contexts, texts, strict=True)])
    parts, num_separate = [], 0
    for text, context, whole in zip(texts, before, wholes):
        length = len(context)
        if len(whole) > length and np.array_equal(whole[:length], context):
            parts.append(whole[length:])
        else:
            parts.append(vocabulary.encode(text))
            num_separate += bool(text)
    return before, parts, num_separate


def divider_ids(vocabulary: Vocabulary) -> np.ndarray:
    """Returns the tokens of the line break behind a text."""
    return vocabulary.encode("a" + DIVIDER)[len(vocabulary.encode("a")) :]
