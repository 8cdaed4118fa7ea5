"""Log-probabilities of continuations of a context, and the most probable of several options."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Int

from tlm_jax import models
from tlm_jax.errors import UserError
from tlm_jax.scoring.forced import ForcedPass, over_chunks
from tlm_jax.scoring.rows import Request, Row, rows_of
from tlm_jax.sharding import rules as sharding_rules
from tlm_jax.types import Batch, Params, Unembedding

Normalize = Literal["none", "tokens"]


class Score(NamedTuple):
    """How probable a continuation is.

    Attributes:
      logprob_nats: log P(continuation | context), summed over its tokens.
      num_tokens: of the continuation.
      greedy: whether each of its tokens is the most probable one there.
      dropped_context_tokens: how many tokens the context lost at its left end.
    """

    logprob_nats: float
    num_tokens: int
    greedy: bool
    dropped_context_tokens: int

    def value(self, normalize: Normalize) -> float:
        """Returns the sum, or the mean over tokens."""
        return self.logprob_nats / (self.num_tokens if normalize == "tokens" else 1)


class Scorer:
    """Scores requests; compiled for a few shapes, called many times.

    The context of a request is worked on once for all its continuations (`scoring_rows`).
    """

    def __init__(
        self,
        config: models.ModelConfig,
        *,
        batch_size: int,
        bos_id: int = 0,
        max_length: int | None = None,
        max_context_length: int | None = None,
        chunk_tokens: int = 1024,
        mesh: Mesh | None = None,
        rules: sharding_rules.Rules = sharding_rules.LOGICAL_AXIS_RULES,
    ):
        """Prepares scoring; nothing is compiled yet.

        Args:
          config: the model.
          batch_size: contexts worked on at a time, rounded up to what the mesh divides.
          bos_id: what the decoder of an encoder-decoder starts with.
          max_length: most tokens that the decoder reads; None means as many as there are positions
            in the model, any number where it has no limit.
          max_context_length: most tokens that an encoder reads.
          chunk_tokens: how many tokens' logits exist at a time.
          mesh: where parameters live; None for a single device.
          rules: how batches lie on the mesh.
        """
        limits = [limit for limit in (max_length, config.position_limit) if limit is not None]
        self._rows_of = functools.partial(
            rows_of,
            bos_id=bos_id if config.is_encoder_decoder else None,
            max_length=min(limits, default=None),
            max_context_length=max_context_length,
        )
        self._pass = ForcedPass(
            config,
            functools.partial(_token_scores, chunk_tokens=chunk_tokens),
            batch_size=batch_size,
            mesh=mesh,
            rules=rules,
        )

    def score(
        self,
        params: Params,
        requests: Sequence[Request],
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> list[list[Score]]:
        """Returns the score of each continuation of each request.

        Args:
          params: the model's parameters.
          requests: what is scored.
          progress: `progress(rows_done, rows_in_all)`, told after each batch.

        Raises:
          UserError: as `scoring_rows.rows_of`.
        """
        rows = [row for i, request in enumerate(requests) for row in self._rows_of(i, request)]
        rows.sort(key=lambda row: (len(row.encoder), row.width))
        scores: list[list[Score | None]] = [[None] * len(r.continuations) for r in requests]
        done = 0
        for some, logprobs in self._pass.run(params, rows):
            found = multihost_utils.process_allgather(logprobs, tiled=True)
            for row, logprobs, greedy in zip(some, *found):
                _enter(scores, row, np.asarray(logprobs, np.float64), np.asarray(greedy))
            done += len(some)
            progress(done, len(rows))
        return [[score for score in found if score is not None] for found in scores]


def choose(scores: Sequence[Score], normalize: Normalize = "none") -> int:
    """Returns the number of the most probable option; of equal ones, the first.

    Args:
      scores: of the options.
      normalize: "none" compares sums, as TeacherLM's code does; "tokens" means over the tokens, as
        its paper says.

    Raises:
      UserError: there is no option.
    """
    if not scores:
        raise UserError("there is no option to choose from")
    return int(np.argmax([score.value(normalize) for score in scores]))


def _token_scores(
    hidden: Float[Array, "B M D"], unembedding: Unembedding, batch: Batch, *, chunk_tokens: int
) -> tuple[Float[Array, "B M"], Bool[Array, "B M"]]:
    """Returns log p of each target, and whether it is the most probable token."""

    def score(
        hidden: Float[Array, "B m D"], targets: Int[Array, "B m"]
    ) -> tuple[Float[Array, "B m"], Bool[Array, "B m"]]:
        logits = unembedding.logits(hidden)
        chosen = jnp.take_along_axis(logits, targets[:, :, None], axis=-1)[:, :, 0]
        logprobs = chosen - jax.nn.logsumexp(logits, axis=-1)
        return logprobs, jnp.argmax(logits, axis=-1) == targets

    return over_chunks(score, (hidden, batch["target"]), chunk_tokens)


def _enter(
    scores: list[list[Score | None]], row: Row, logprobs: np.ndarray, greedy: np.ndarray
) -> None:
    start = 0
    for option, continuation in zip(row.options, row.continuations):
        here = slice(start, start + len(continuation))
        scores[row.request][option] = Score(
            float(logprobs[here].sum()),
            len(continuation),
            bool(greedy[here].all()),
            row.dropped_tokens,
        )
        start = here.stop
