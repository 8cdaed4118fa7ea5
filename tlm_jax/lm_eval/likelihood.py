"""Likelihoods of continuations, for many requests of the harness: each context is read once."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from tlm_jax.errors import UserError
from tlm_jax.lm_eval.opened import HarnessModel
from tlm_jax.lm_eval.rows import Rows
from tlm_jax.lm_eval.texts import Pair
from tlm_jax.scoring.continuations import Score, Scorer
from tlm_jax.scoring.rows import Request

BATCHES_BETWEEN_REPORTS = 16
"""What is known is told to the caller after so many."""
_MOST_OPTIONS = 64
"""Continuations of one context that stand together."""

Scored = tuple[float, bool]
"""log P(continuation | context) in nats, and whether each of its tokens is the most probable."""


class Likelihoods:
    """Scores token pairs with one model."""

    def __init__(self, model: HarnessModel, rows: Rows):
        """Takes the model; nothing is compiled yet."""
        self._model, self._rows = model, rows
        self._scorers: dict[int, Scorer] = {}
        self.cut = 0
        """How many contexts lost their left end so far."""

    def score(
        self,
        pairs: Sequence[Pair],
        on_scored: Callable[[int, Scored], None] = lambda index, scored: None,
    ) -> list[Scored]:
        """Returns what is asked for each pair, in their order.

        An empty continuation is certain. Contexts that are too long lose their left end.

        Args:
          pairs: contexts and continuations.
          on_scored: is told a pair's number and its score as soon as it is known.

        Raises:
          UserError: a continuation is longer than the model's window.
        """
        self._check(pairs)
        found: dict[int, Scored] = {}

        def enter(index: int, scored: Scored) -> None:
            found[index] = scored
            on_scored(index, scored)

        for index, pair in enumerate(pairs):
            if not pair.continuation:
                enter(index, (0.0, True))
        indices = [index for index, pair in enumerate(pairs) if pair.continuation]
        for part in _parts(pairs, indices, self._rows.number * BATCHES_BETWEEN_REPORTS):
            for group, scores in zip(part, self._score(pairs, part)):
                for index, score in zip(group, scores):
                    self.cut += score.dropped_context_tokens > 0
                    enter(index, (score.logprob_nats, score.greedy))
        return [found[index] for index in range(len(pairs))]

    def _score(self, pairs: Sequence[Pair], part: Sequence[Sequence[int]]) -> list[list[Score]]:
        requests = [
            Request(
                np.asarray(pairs[group[0]].context, np.int32),
                [np.asarray(pairs[index].continuation, np.int32) for index in group],
            )
            for group in part
        ]
        return self._rows.run(
            lambda number: self._scorer(number).score(self._model.params, requests)
        )

    def _scorer(self, number: int) -> Scorer:
        if number not in self._scorers:
            model = self._model
            self._scorers[number] = Scorer(
                model.config,
                batch_size=number,
                bos_id=model.start_id,
                max_length=model.window_tokens,
                max_context_length=model.window_tokens,
                mesh=model.sharded_mesh,
            )
        return self._scorers[number]

    def _check(self, pairs: Sequence[Pair]) -> None:
        window = self._model.window_tokens
        longest = max((pair.continuation for pair in pairs), key=len, default=[])
        if len(longest) > window:
            text = self._model.vocabulary.decode(longest[:12])
            raise UserError(
                f"a continuation has {len(longest):,} tokens ({text!r}...), but the model reads "
                f"{window:,}: leave the task out, or raise max_length in --model_args"
            )


def _parts(
    pairs: Sequence[Pair], indices: Sequence[int], size: int
) -> Iterator[list[tuple[int, ...]]]:
    """Yields lists of groups; a group is the numbers of pairs with the same context.

    The longest come first: whether memory suffices shows at once, and lengths within a part are
    alike.
    """
    ordered = sorted(
        indices,
        key=lambda i: (-len(pairs[i].context), pairs[i].context, -len(pairs[i].continuation)),
    )
    groups = (
        some
        for _, group in itertools.groupby(ordered, key=lambda i: pairs[i].context)
        for some in _split(tuple(group), _MOST_OPTIONS)
    )
    while part := list(itertools.islice(groups, size)):
        yield part


def _split(group: tuple[int, ...], size: int) -> Iterator[tuple[int, ...]]:
    for start in range(0, len(group), size):
        yield group[start : start + size]
