"""A teacher's distributions over given texts, by teacher forcing, as rows of a cache hold them."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from tlm_jax import models
from tlm_jax.scoring.forced import ForcedPass
from tlm_jax.scoring.readouts import POSITIONS, SEEDS, Draws, LastHidden, TopCandidates
from tlm_jax.scoring.rows import Request, Row, rows_of
from tlm_jax.sharding import rules as sharding_rules
from tlm_jax.teacher_cache.sampled import steps_from_draws
from tlm_jax.teacher_cache.steps import HiddenSteps, StepDistributions
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
        self._rows_of = functools.partial(
            rows_of, bos_id=bos_id if config.is_encoder_decoder else None, max_length=None
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
        for some, readout in self._pass.run(params, rows, *wanted):
            readout = jax.device_get(readout)
            for index, row in enumerate(some):
                yield from _of_row(row, jax.tree.map(lambda part, i=index: part[i], readout))


def _draw_features(row: Row, *, keys: Sequence[Sequence[str]]) -> Mapping[str, np.ndarray]:
    seeds, positions = [], []
    for option, continuation in zip(row.options, row.continuations):
        key = keys[row.request][option]
        words = [int(key[:8], 16), int(key[8:16], 16)]
        seeds += [words] * len(continuation)
        positions += range(len(continuation))
    return {SEEDS: np.asarray(seeds, np.uint32), POSITIONS: np.asarray(positions, np.int32)}


def _of_row(row: Row, readout: Any) -> Iterator[tuple[int, int, Steps]]:
    start = 0
    for option, continuation in zip(row.options, row.continuations):
        here = slice(start, start + len(continuation))
        yield row.request, option, _steps(jax.tree.map(lambda part, h=here: part[h], readout))
        start = here.stop


def _steps(readout: Any) -> Steps:
    if isinstance(readout, tuple):
        ids, logprobs, tail = (np.asarray(part) for part in readout)
        return StepDistributions(ids, logprobs, tail, np.ones(len(ids), np.float32))
    if np.issubdtype(readout.dtype, np.integer):
        return steps_from_draws(readout, np.ones(len(readout), np.float32))
    return HiddenSteps(readout, np.ones(len(readout), np.float32))
