"""A teacher's distributions over a text, step by step: what caches hold in rows and losses read."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Float32, Int32


@dataclasses.dataclass(frozen=True)
class StepDistributions:
    """T sparse next-token distributions.

    `exp(logprobs).sum(-1) + exp(tail_logprobs)` is 1 up to rounding, except in the un-normalised
    form of the Flan-T5 specialization code, whose tail is dropped (-inf).

    Attributes:
      ids: candidates, the most probable first; 0 at padding.
      logprobs: nats; -inf at padding. Of a `sampled` row the logarithm of count / N.
      tail_logprobs: logarithm of the mass of all other tokens; -inf where there is none.
      weights: 1 where the teacher says something, 0 where the step was dropped.
    """

    ids: Int32[np.ndarray, "T C"]
    logprobs: Float32[np.ndarray, "T C"]
    tail_logprobs: Float32[np.ndarray, " T"]
    weights: Float32[np.ndarray, " T"]


@dataclasses.dataclass(frozen=True)
class HiddenSteps:
    """The teacher's last hidden state at each of T steps; its unembedding is kept once beside.

    Attributes:
      hidden: bfloat16 (`ml_dtypes`), what the unembedding multiplies to predict the token of the
        step.
      weights: as of `StepDistributions`.
    """

    hidden: Float[np.ndarray, "T E"]
    weights: Float32[np.ndarray, " T"]


@dataclasses.dataclass(frozen=True)
class TeacherRow:
    """A scored text.

    Attributes:
      key: `content_key` of what was scored (`solution_key` but for caches of other fields).
      example_id: of the example it was scored for, by which a changed text is noticed.
      token_ids: what was scored, in the teacher's vocabulary, EOS included where it was scored.
      steps: one distribution a token.
    """

    key: str
    example_id: str
    token_ids: Int32[np.ndarray, " T"]
    steps: StepDistributions | HiddenSteps


def solution_key(question: str, options: Sequence[str] | None, text: str) -> str:
    """Returns the `content_key` of a solution: of the question, each of its options, and the text.

    Many questions are the same but for their options ("Which sentence makes no sense?").
    """
    return content_key(question, *(options or ()), text)


def content_key(*fields: str) -> str:
    """Returns 32 hex digits that stand for the texts, the same in every process and version.

    SHA-256 over each text's UTF-8 bytes with their number in front (8 bytes, little-endian), so
    that no two lists of texts run together; the first 128 bits.
    """
    hashed = hashlib.sha256()
    for field in fields:
        data = field.encode("utf-8", "surrogatepass")
        hashed.update(len(data).to_bytes(8, "little"))
        hashed.update(data)
    return hashed.hexdigest()[:32]
