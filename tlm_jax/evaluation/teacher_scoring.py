"""A teacher's distributions over given texts, by teacher forcing, as rows of a cache hold them."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Int

from tlm_jax import models
from tlm_jax.data.teacher_steps import HiddenSteps, StepDistributions
from tlm_jax.evaluation.forced import ForcedPass
from tlm_jax.evaluation.scoring_rows import Request, Row, rows_of
from tlm_jax.evaluation.teacher_looks import (
    POSITIONS,
    SEEDS,
    Draws,
    LastHidden,
    TopCandidates,
)
from tlm_jax.sharding import rules as sharding_rules
from tlm_jax.types import Params

Steps = StepDistributions | HiddenSteps


class TeacherScorer:
    """Scores requests; compiled for a few shapes, called many times.

    Continuations of one context share the work on it (`scoring_rows`).
    """

    def __init__(
        self,
        config: models.ModelConfig,
        look: TopCandidates | Draws | LastHidden,
        *,
        batch_size: int,
        bos_id: int = 0,
        mesh: Mesh | None = None,
        rules: sharding_rules.Rules = sharding_rules.LOGICAL_AXIS_RULES,
    ):
        """Prepares scoring; nothing is compiled yet.

        Args:
          config: the model.
          look: what is wanted of each distribution.
          batch_size: rows at a time, rounded up to what the mesh divides.
          bos_id: what the decoder of an encoder-decoder starts with.
          mesh: of this process's devices; None for a single one.
          rules: how batches lie on the mesh.
        """
        self._look = look
        self._pass = ForcedPass(config, look, batch_size=batch_size, mesh=mesh, rules=rules)
        encoder_decoder = isinstance(config, models.EncoderDecoderConfig)
        self._rows_of = functools.partial(
            rows_of, bos_id=bos_id if encoder_decoder else None, max_length=None
        )

    def score(
        self, params: Params, requests: Sequence[Request], keys: Sequence[Sequence[str]]
    ) -> Iterator[tuple[int, int, Steps]]:
        """Yields the steps of each continuation, in the order in which they are done.

        Args:
          params: of the model.
          requests: contexts and continuations, which must fit the model's window.
          keys: of each continuation, hexadecimal, at least 16 digits. Draws depend on the key and
            the place in the text alone (and on logits, which other shapes of a batch round
            differently).

        Yields:
          (number of the request, number of the continuation, its steps).
        """
        rows = [row for i, request in enumerate(requests) for row in self._rows_of(i, request)]
        rows.sort(key=lambda row: (len(row.encoder), row.width))
        features = functools.partial(_draw_features, keys=keys)
        wanted = (features,) if isinstance(self._look, Draws) else ()
        for some, said in self._pass.run(params, rows, *wanted):
            said = jax.device_get(said)
            for index, row in enumerate(some):
                yield from _of_row(row, jax.tree.map(lambda part, i=index: part[i], said))


def counted(draws: Int[np.ndarray, "T N"]) -> StepDistributions:
    """Returns draws as distributions: each token once, with the logarithm of count / N.

    The most frequent come first, of equals the lower id. Nothing is left for a tail: the mean over
    draws is the whole distribution.
    """
    T, N = draws.shape
    ordered = np.sort(draws, axis=1)
    begins = np.concatenate([np.ones((T, 1), bool), ordered[:, 1:] != ordered[:, :-1]], axis=1)
    run = np.cumsum(begins, axis=1) - 1
    rows = np.arange(T)[:, None]
    counts = np.bincount((rows * N + run).ravel(), minlength=T * N).reshape(T, N)
    ids = np.zeros((T, N), np.int32)
    np.put_along_axis(ids, run, ordered.astype(np.int32), axis=1)
    order = np.argsort(-counts, axis=1, kind="stable")
    counts, ids = np.take_along_axis(counts, order, 1), np.take_along_axis(ids, order, 1)
    with np.errstate(divide="ignore"):
        logprobs = np.log(counts / N).astype(np.float32)
    ones = np.ones(T, np.float32)
    return StepDistributions(ids, logprobs, np.full(T, -np.inf, np.float32), ones)


def _draw_features(row: Row, *, keys: Sequence[Sequence[str]]) -> Mapping[str, np.ndarray]:
    seeds, positions = [], []
    for option, continuation in zip(row.options, row.continuations):
        key = keys[row.request][option]
        words = [int(key[:8], 16), int(key[8:16], 16)]
        seeds += [words] * len(continuation)
        positions += range(len(continuation))
    return {SEEDS: np.asarray(seeds, np.uint32), POSITIONS: np.asarray(positions, np.int32)}


def _of_row(row: Row, said: Any) -> Iterator[tuple[int, int, Steps]]:
    start = 0
    for option, continuation in zip(row.options, row.continuations):
        here = slice(start, start + len(continuation))
        yield row.request, option, _steps(jax.tree.map(lambda part, h=here: part[h], said))
        start = here.stop


def _steps(said: Any) -> Steps:
    if isinstance(said, tuple):
        ids, logprobs, tail = (np.asarray(part) for part in said)
        return StepDistributions(ids, logprobs, tail, np.ones(len(ids), np.float32))
    if np.issubdtype(said.dtype, np.integer):
        return counted(said)
    return HiddenSteps(said, np.ones(len(said), np.float32))
