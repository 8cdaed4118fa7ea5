"""Captured steps as token ids and distributions, over a vocabulary made of the texts seen."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from tlm_jax.data.teacher_imports.captured import Piece, Step, TokenSteps, Unusable, ends_text
from tlm_jax.data.teacher_steps import StepDistributions
from tlm_jax.data.vocabularies.base import digest
from tlm_jax.data.vocabularies.token_bytes import TokenTable


@dataclasses.dataclass(frozen=True)
class SeenTokens:
    """A vocabulary of the tokens that were seen; APIs give no other.

    Attributes:
      table: for the cache.
      ids: of each piece.
    """

    table: TokenTable
    ids: Mapping[Piece, int]

    @classmethod
    def of(cls, pieces: Iterable[Piece]) -> SeenTokens:
        """Numbers the pieces, special ones first, in order: the same set gives the same ids."""
        distinct = set(pieces)
        names = sorted(piece for piece in distinct if isinstance(piece, str))
        texts = sorted(piece for piece in distinct if isinstance(piece, bytes))
        ids: dict[Piece, int] = {piece: i for i, piece in enumerate([*names, *texts])}
        ends = [ids[name] for name in names if ends_text(name)]
        table = TokenTable(
            pieces=(*(b"" for _ in names), *texts),
            special=frozenset(range(len(names))),
            eos_id=ends[0] if ends else None,
            fingerprint=digest(b"seen tokens", *(name.encode() for name in names), b"", *texts),
        )
        return cls(table, ids)

    def distributions(
        self, steps: Sequence[Step], num_candidates: int, *, rounding: float = 0.0
    ) -> TokenSteps:
        """Returns the steps with ids, the most probable candidate first, the rest as tail.

        Args:
          steps: whose pieces are all known.
          num_candidates: C; candidates beyond it become tail.
          rounding: how far each probability may be off: a sum above 1 that this explains is
            scaled to 1.

        Raises:
          Unusable: probabilities sum to more.
        """
        shape = (len(steps), num_candidates)
        ids, logprobs = np.zeros(shape, np.int32), np.full(shape, -np.inf, np.float32)
        tails = np.full(len(steps), -np.inf, np.float32)
        weights = np.zeros(len(steps), np.float32)
        for t, step in enumerate(steps):
            known = sorted(
                ((value, piece) for piece, value in step.alternatives if value > -math.inf),
                key=lambda one: -one[0],
            )
            if not known:
                continue  # the teacher says nothing here: weight 0
            total = math.fsum(math.exp(value) for value, _ in known)
            if total > 1 + len(known) * rounding + _FLOAT_NOISE:
                raise Unusable("probabilities sum to more than 1")
            kept = known[:num_candidates]
            ids[t, : len(kept)] = [self.ids[piece] for _, piece in kept]
            shift = math.log(total) if total > 1 else 0.0
            logprobs[t, : len(kept)] = [value - shift for value, _ in kept]
            inside = math.fsum(math.exp(value) for value, _ in kept) / max(total, 1.0)
            tails[t] = math.log(1 - inside) if 1 - inside > _FLOAT_NOISE else -math.inf
            weights[t] = 1
        token_ids = np.asarray([self.ids[step.piece] for step in steps], np.int32)
        return TokenSteps(token_ids, StepDistributions(ids, logprobs, tails, weights))


def pieces_in(steps: Iterable[Step]) -> set[Piece]:
    """Returns the tokens written and the candidates."""
    found: set[Piece] = set()
    for step in steps:
        found.add(step.piece)
        found.update(piece for piece, _ in step.alternatives)
    return found


_FLOAT_NOISE = 1e-6
"""Log-probabilities computed in float32 sum to one within so much."""
