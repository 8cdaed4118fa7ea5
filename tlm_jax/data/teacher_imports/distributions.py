"""Captured steps as token ids and distributions, over a vocabulary made of the texts seen."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from tlm_jax.data.teacher_imports.captured import Piece, Step, TokenSteps, Unusable, ends_text
from tlm_jax.teacher_cache.steps import StepDistributions
from tlm_jax.vocabularies.base import digest
from tlm_jax.vocabularies.token_bytes import TokenTable

END_ID, OTHER_SPECIAL_ID = 0, 1
"""What special tokens become: those that end a text, and all others."""

VOCABULARY_SIZE = (1 << 20) - 1
"""What a cache of seen tokens calls its vocabulary's size, so that more may be seen later."""


@dataclasses.dataclass(frozen=True)
class SeenTokens:
    """A vocabulary of the tokens that were seen; APIs give no other.

    Attributes:
      table: for the cache.
      ids: of the texts.
    """

    table: TokenTable
    ids: Mapping[bytes, int]

    @classmethod
    def of(cls, pieces: Iterable[Piece], known: TokenTable | None = None) -> SeenTokens:
        """Numbers the pieces in their order as bytes: the same set gives the same ids.

        Args:
          pieces: in any order, any number of times.
          known: a table of tokens seen earlier; these keep their ids, and new ones come behind.
        """
        before = (b"", b"") if known is None else known.pieces
        texts = {piece for piece in pieces if isinstance(piece, bytes) and piece}
        table_pieces = (*before, *sorted(texts.difference(before)))
        table = TokenTable(
            pieces=table_pieces,
            special=frozenset((END_ID, OTHER_SPECIAL_ID)),
            eos_id=END_ID,
            fingerprint=digest(b"seen tokens", *table_pieces),
        )
        ids = {piece: i for i, piece in enumerate(table_pieces) if i > OTHER_SPECIAL_ID}
        return cls(table, ids)

    def id_of(self, piece: Piece) -> int:
        """Returns the id of a piece that was seen."""
        if isinstance(piece, str) or not piece:
            return END_ID if ends_text(piece) else OTHER_SPECIAL_ID
        return self.ids[piece]

    def distributions(
        self,
        steps: Sequence[Step],
        num_candidates: int,
        *,
        rounding: float = 0.0,
        rounding_nats: float = 0.0,
    ) -> TokenSteps:
        """Returns the steps with ids, the most probable candidate first, the rest as tail.

        Args:
          steps: whose pieces are all known.
          num_candidates: C; candidates beyond it become tail.
          rounding: how far each probability may be off: a sum above 1 that this explains is
            scaled to 1.
          rounding_nats: how far each log-probability may be, likewise.

        Raises:
          Unusable: probabilities sum to more.
        """
        shape = (len(steps), num_candidates)
        ids, logprobs = np.zeros(shape, np.int32), np.full(shape, -np.inf, np.float32)
        tails = np.full(len(steps), -np.inf, np.float32)
        weights = np.zeros(len(steps), np.float32)
        for t, step in enumerate(steps):
            known: dict[int, float] = {}
            for piece, value in step.alternatives:
                if value > -math.inf:
                    # Several tokens that end a text are one here.
                    place = self.id_of(piece)
                    known[place] = known.get(place, 0.0) + math.exp(value)
            if not any(known.values()):
                continue  # the teacher says nothing here: weight 0
            total = math.fsum(known.values())
            if total > math.exp(rounding_nats) + len(known) * rounding + _FLOAT_NOISE:
                raise Unusable("probabilities sum to more than 1")
            ordered = sorted(known.items(), key=lambda one: (-one[1], one[0]))[:num_candidates]
            kept = [(i, p / max(total, 1.0)) for i, p in ordered if p > 0]
            ids[t, : len(kept)] = [i for i, _ in kept]
            logprobs[t, : len(kept)] = [math.log(p) for _, p in kept]
            inside = math.fsum(p for _, p in kept)
            tails[t] = math.log(1 - inside) if 1 - inside > _FLOAT_NOISE else -math.inf
            weights[t] = 1
        token_ids = np.asarray([self.id_of(step.piece) for step in steps], np.int32)
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
