"""The heat map of what a teacher found likely in a text, token by token, ready to be drawn."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from tlm_jax.errors import UserError
from tlm_jax.teacher_cache.steps import HiddenSteps, StepDistributions, TeacherRow
from tlm_jax.teacher_cache.unembedding import StoredUnembedding
from tlm_jax.vocabularies.token_bytes import TokenTable

_SHOWN_OF_ALL = 10


@dataclasses.dataclass(frozen=True)
class StepView:
    """One token of a text.

    Attributes:
      token_id: what was scored.
      text: the token's, or its id where no table tells.
      probability: the teacher's of this token; None where it is none of the candidates.
      below: an upper bound of it, where it is None.
      candidates: (text, probability), the most probable first.
      tail: the mass outside the candidates.
      entropy_nats: of candidates and tail, the tail as one outcome: at most the true one.
      dropped: the teacher says nothing here.
    """

    token_id: int
    text: str
    probability: float | None
    below: float
    candidates: tuple[tuple[str, float], ...]
    tail: float
    entropy_nats: float
    dropped: bool


@dataclasses.dataclass(frozen=True)
class HeatMap:
    """A text as its teacher saw it.

    Attributes:
      key: of the row.
      example_id: of the example it was scored for.
      steps: one a token.
    """

    key: str
    example_id: str
    steps: tuple[StepView, ...]

    @property
    def mean_nll_nats(self) -> float:
        """The mean negative log-likelihood of the tokens whose probability is known."""
        known = [step.probability for step in self.steps if step.probability]
        return -math.fsum(map(math.log, known)) / len(known) if known else math.nan


def heat_map(
    row: TeacherRow, table: TokenTable | None, unembedding: StoredUnembedding | None = None
) -> HeatMap:
    """Returns a row ready to be drawn.

    Args:
      row: of a cache.
      table: the teacher's tokens.
      unembedding: which `hidden` rows need.

    Raises:
      UserError: hidden states without an unembedding.
    """
    steps = row.steps
    if isinstance(steps, HiddenSteps):
        if unembedding is None:
            raise UserError("hidden states tell no distributions without the unembedding.")
        steps = _all_tokens(steps, unembedding)
    texts = table.texts if table is not None else ()
    views = tuple(
        _view(int(token), steps, number, texts) for number, token in enumerate(row.token_ids)
    )
    return HeatMap(row.key, row.example_id, views)


def _view(token: int, steps: StepDistributions, number: int, texts: tuple[str, ...]) -> StepView:
    present = np.isfinite(steps.logprobs[number])
    ids = steps.ids[number][present].tolist()
    shares = np.exp(steps.logprobs[number][present].astype(np.float64)).tolist()
    tail = math.exp(steps.tail_logprobs[number])
    parts = [share for share in (*shares, tail) if share > 0]
    return StepView(
        token_id=token,
        text=_text(token, texts),
        probability=dict(zip(ids, shares)).get(token),
        below=min(shares[-1], tail) if shares else 1.0,
        candidates=tuple((_text(i, texts), share) for i, share in zip(ids, shares))[:_SHOWN_OF_ALL],
        tail=tail + math.fsum(shares[_SHOWN_OF_ALL:]),
        entropy_nats=-math.fsum(share * math.log(share) for share in parts),
        dropped=not steps.weights[number],
    )


def _text(token: int, texts: tuple[str, ...]) -> str:
    text = texts[token] if token < len(texts) else ""
    return text or f"<{token}>"


def _all_tokens(steps: HiddenSteps, unembedding: StoredUnembedding) -> StepDistributions:
    logits = unembedding.logits(steps.hidden).astype(np.float64)
    logprobs = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
    order = np.argsort(-logprobs, axis=1).astype(np.int32)
    return StepDistributions(
        order,
        np.take_along_axis(logprobs, order, axis=1).astype(np.float32),
        np.full(len(logits), -np.inf, np.float32),
        steps.weights,
    )
