"""A request while its samples are being placed and a sample while it is generated, on the host."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection

import numpy as np

from tlm_jax.decoding.prompts import Prompts
from tlm_jax.decoding.requests import Candidates, Request, Sample, repeats
from tlm_jax.decoding.rows import Chosen


@dataclasses.dataclass(eq=False)
class Waiting:
    """A request some of whose samples have not begun.

    Attributes:
      request: the request.
      prompts: which its own prompt is one of, once it has been read.
      source: row of its prompt in `prompts`.
      placed: how many of its samples have begun.
    """

    request: Request
    prompts: Prompts | None = None
    source: int = 0
    placed: int = 0

    def left(self) -> int:
        """Returns how many samples have not begun."""
        return len(self.request.seeds) - self.placed


class Running:
    """Collects a sample's tokens and tells when it ends.

    Args:
      request: what it is a sample of.
      index: which of the request's seeds it has.
    """

    def __init__(self, request: Request, index: int):
        self.request, self.index = request, index
        self.seed = int(request.seeds[index])
        self.start = 0
        """The engine's step at which it began."""
        self.tokens: list[int] = []
        self._parts: list[Chosen] = []
        self._reason = ""
        self._kept = 0
        self._checked = 0

    def remaining(self) -> int:
        """Returns how many more tokens there may be."""
        return self.request.sampling.max_new_tokens - len(self.tokens)

    def extend(self, chosen: Chosen) -> None:
        """Adds tokens [T]."""
        self._parts.append(chosen)
        self.tokens += chosen.tokens.tolist()

    def ended(self, eos_ids: Collection[int]) -> bool:
        """Tells whether it has ended; of several reasons, the one that came first holds."""
        ends: list[tuple[int, str]] = []
        if self.tokens and self.tokens[-1] in eos_ids:
            ends.append((len(self.tokens), "eos"))
        if self.request.stop is not None:
            kept = self.request.stop(self.tokens)
            if kept is not None:
                ends.append((min(max(kept, 0), len(self.tokens)), "stop"))
        times = self.request.sampling.max_repeats
        if times:
            end = repeats(self.tokens, times, start=self._checked)
            self._checked = len(self.tokens)
            if end is not None:
                ends.append((end, "repetition"))
        if self.remaining() <= 0:
            ends.append((len(self.tokens), "length"))
        if ends:
            # Ties go to the first above: a sample that is complete is not cut.
            self._kept, self._reason = min(ends, key=lambda end: end[0])
        return bool(ends)

    def sample(self) -> Sample:
        """Returns the sample, once it has ended."""
        kept = self._kept
        logprobs = np.concatenate([part.logprobs for part in self._parts])[:kept]
        candidates = None
        if self._parts[0].ids is not None:
            ids, values, outside = (
                np.concatenate([np.asarray(getattr(part, name)) for part in self._parts])[:kept]
                for name in ("ids", "candidate_logprobs", "outside")
            )
            candidates = Candidates(ids, values, outside)
        return Sample(
            request_id=self.request.id,
            index=self.index,
            seed=self.seed,
            tokens=tuple(self.tokens[:kept]),
            logprobs=tuple(logprobs.tolist()),
            finish_reason=self._reason,
            candidates=candidates,
        )
