"""Requests to the decoding engine, and the samples that come back; needs no JAX."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float32, Int32

from tlm_jax.errors import UserError

StopRule = Callable[[Sequence[int]], int | None]
"""`stop(tokens) -> number`: given all tokens generated so far, how many of them to keep if the text
has reached its end (a stop string, say), else None. It is asked every few tokens, so it looks for
the first end in the whole text."""

LONGEST_REPEAT_TOKENS = 64
"""The longest run of tokens whose repetition `Sampling.max_repeats` notices."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sampling:
    """How tokens are chosen, and when a sample ends at the latest.

    Attributes:
      max_new_tokens: the most tokens generated, at least 1.
      temperature: divides logits before all that follows but the penalty; 0 is greedy.
      top_k: draws from the k most probable tokens; 0 is off.
      top_p: draws from the fewest tokens with this share of the mass that `top_k` left; 1 is off.
      min_p: draws from tokens with at least this share of the largest probability; 0 is off.
      repetition_penalty: divides positive and multiplies negative logits of tokens seen before, in
        a decoder-only model's prompt too; 1 is off.
      max_repeats: ends a sample whose last tokens are one run of 1 to 64 tokens, this many times in
        a row; 0 is off, 1 is not allowed.
    """

    max_new_tokens: int = 256
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    max_repeats: int = 0

    def __post_init__(self) -> None:
        self._check("max_new_tokens", self.max_new_tokens >= 1, "at least 1")
        self._check("temperature", 0 <= self.temperature < float("inf"), "0 (greedy) or more")
        self._check("top_k", self.top_k >= 0, "0 (off) or more")
        self._check("top_p", 0 < self.top_p <= 1, "more than 0 and at most 1 (off)")
        self._check("min_p", 0 <= self.min_p <= 1, "from 0 (off) to 1")
        self._check("repetition_penalty", 0 < self.repetition_penalty < 1e6, "above 0; 1 is off")
        self._check("max_repeats", self.max_repeats == 0 or self.max_repeats > 1, "0 (off) or 2+")

    def _check(self, name: str, good: bool, expected: str) -> None:
        if not good:
            raise UserError(f"Sampling.{name} is {getattr(self, name)!r}: expected {expected}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """A prompt and the samples wanted of it.

    Attributes:
      id: comes back in each sample.
      prompt: tokens. Of a decoder-only model all that it reads, BOS included where it wants one;
        of an encoder-decoder the encoder's, EOS included.
      seeds: one sample for each, 0 <= seed < 2**63. A sample depends on the model, its prompt, the
        settings and its seed, not on what is decoded beside it.
      sampling: settings of all of them.
      stop: ends samples by their text.
    """

    id: Any
    prompt: Sequence[int]
    seeds: Sequence[int] = (0,)
    sampling: Sampling = dataclasses.field(default_factory=Sampling)
    stop: StopRule | None = None


@dataclasses.dataclass(frozen=True)
class Candidates:
    """The most probable tokens at each of T places, by the model itself.

    Attributes:
      ids: int32 [T, C], the most probable first.
      logprobs: float32 [T, C], nats.
      outside_logprob: float32 [T], logarithm of the mass of all other tokens; -inf where there is
        none left in float32.
    """

    ids: Int32[np.ndarray, "T C"]
    logprobs: Float32[np.ndarray, "T C"]
    outside_logprob: Float32[np.ndarray, " T"]


@dataclasses.dataclass(frozen=True)
class Sample:
    """One generated sequence.

    Attributes:
      request_id: of its request.
      index: place of its seed among the request's.
      seed: of its random numbers.
      tokens: generated ids; EOS is the last if `finish_reason` is "eos".
      logprobs: log-probability in nats of each token by the model itself: no temperature, no
        truncation, no penalty.
      finish_reason: "eos", "stop" (by the request's rule), "length" or "repetition".
      candidates: where the engine was asked for them.
    """

    request_id: Any
    index: int
    seed: int
    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]
    finish_reason: str
    candidates: Candidates | None = None


def repeats(tokens: Sequence[int], times: int, *, start: int = 0) -> int | None:
    """Returns where a sequence has repeated one run `times` times in a row, or None.

    The answer is the number of tokens up to the end of the first such repetition whose end lies
    beyond `start`.

    Args:
      tokens: the sequence.
      times: how often in a row, at least 2.
      start: ends up to here are known to be no repetition.
    """
    array = np.asarray(tokens)
    ends = []
    for period in range(1, LONGEST_REPEAT_TOKENS + 1):
        needed = period * (times - 1)
        if needed + period > len(array):
            break
        same = np.concatenate([[0], np.cumsum(array[period:] == array[:-period])])
        # Each window of `needed` places equal to those one period before.
        found = np.flatnonzero(same[needed:] - same[:-needed] == needed) + needed + period
        found = found[found > start]
        if found.size:
            ends.append(int(found[0]))
    return min(ends, default=None)
