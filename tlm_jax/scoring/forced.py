"""Teacher forcing: rows of given continuations through a model, and what is said of each target."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float

from tlm_jax import models
from tlm_jax.decoding.common_prefixes import (
    TokenPrefix,
    by_prefix,
    common_prefixes,
    padded_prefix,
)
from tlm_jax.scoring.rows import Row, to_batch
from tlm_jax.sharding import rules as sharding_rules
from tlm_jax.types import Batch, Params, Unembedding

T = TypeVar("T")
Look = Callable[[Float[Array, "B M D"], Unembedding, Batch], T]
"""(hidden states in front of the targets, unembedding, batch) -> a tree of arrays [B, M, ...]."""


class ForcedPass:
    """Runs rows through a model; compiled for a few shapes, called many times."""

    def __init__(
        self,
        config: models.ModelConfig,
        look: Look,
        *,
        batch_size: int,
        mesh: Mesh | None = None,
        rules: sharding_rules.Rules = sharding_rules.LOGICAL_AXIS_RULES,
    ):
        """Prepares the program; nothing is compiled yet.

        Args:
          config: the model.
          look: what is wanted of the targets.
          batch_size: rows at a time, rounded up to what the mesh divides.
          mesh: where parameters live; None for a single device.
          rules: how batches lie on the mesh.
        """
        divisor = sharding_rules.batch_divisor(mesh, rules) if mesh is not None else 1
        self.batch_size = -(-batch_size // divisor) * divisor
        self._mesh, self._rules = mesh, rules

        self._shares = config.is_causal

        def read_prefix(params: Params, tokens: Array, mask: Array) -> models.Prefix:
            return models.read_prefix(params, tokens, mask, config)

        def run(params: Params, batch: Batch, prefix: models.Prefix | None) -> Any:
            hidden = models.branched_hidden_states(params, batch, config, prefix=prefix)
            before = jnp.take_along_axis(hidden, batch["source"][:, :, None], axis=1)
            return look(before, models.unembedding(params, config), batch)

        self._read_prefix, self._run = jax.jit(read_prefix), jax.jit(run)

    def run(
        self,
        params: Params,
        rows: Iterable[Row],
        target_features: Callable[[Row], Mapping[str, np.ndarray]] = lambda row: {},
    ) -> Iterator[tuple[list[Row], Any]]:
        """Yields the rows of each batch and, on the devices, what `look` says of them.

        A batch is under way while the one before it is being looked at. What the trunks of many
        rows begin with is worked on once for all of them, where the model is causal and
        decoder-only; these rows come together, without the tokens.

        Args:
          params: of the model.
          rows: best in order of their length, as a batch is as long as its longest row.
          target_features: for a row further arrays [m, ...], one entry for each of its targets,
            which `look` finds in the batch, padded with 0.
        """
        under_way: tuple[list[Row], Any] | None = None
        for some, prefix in self._batches(params, rows):
            batch = to_batch(some, self.batch_size)
            batch |= _padded([target_features(row) for row in some], *batch["target"].shape)
            with self._sharded():
                outputs = self._run(params, self._on_devices(batch), prefix)
            if under_way is not None:
                yield under_way
            under_way = some, outputs
        if under_way is not None:
            yield under_way

    def _batches(
        self, params: Params, rows: Iterable[Row]
    ) -> Iterator[tuple[list[Row], models.Prefix | None]]:
        prefixes: list[TokenPrefix] = []
        if self._shares:
            rows = list(rows)
            prefixes = common_prefixes([row.trunk for row in rows], self.batch_size)
        for tokens, some in by_prefix(rows, prefixes, lambda row: row.trunk):
            prefix = self._read(params, tokens) if tokens else None
            behind = (row.behind(len(tokens)) for row in some)
            while batch := list(itertools.islice(behind, self.batch_size)):
                yield batch, prefix

    def _read(self, params: Params, prefix: TokenPrefix) -> models.Prefix:
        with self._sharded():
            return self._read_prefix(params, *padded_prefix(prefix))

    def _sharded(self) -> contextlib.AbstractContextManager[None]:
        if self._mesh is None:
            return contextlib.nullcontext()
        return sharding_rules.use_rules(self._mesh, self._rules)

    def _on_devices(self, arrays: Mapping[str, np.ndarray]) -> dict[str, jax.Array]:
        if self._mesh is None:
            return {name: jnp.asarray(array) for name, array in arrays.items()}
        sharding = sharding_rules.batch_sharding(self._mesh, self._rules)
        return {
            name: jax.make_array_from_callback(array.shape, sharding, array.__getitem__)
            for name, array in arrays.items()
        }


def over_chunks(read_out: Callable[..., T], arrays: Sequence[Array], chunk_tokens: int) -> T:
    """Returns `read_out(*arrays)`, computed for some targets at a time, so that their logits fit.

    Args:
      read_out: takes arrays [B, m, ...], gives a tree of such.
      arrays: [B, M, ...].
      chunk_tokens: how many targets at a time, at least one of each row.
    """
    B, M = arrays[0].shape[:2]
    length = min(M, max(1, chunk_tokens // B))
    chunks = -(-M // length)

    def cut(array: Array) -> Array:
        padded = jnp.pad(array, ((0, 0), (0, chunks * length - M), *((0, 0),) * (array.ndim - 2)))
        return jnp.moveaxis(padded.reshape(B, chunks, length, *array.shape[2:]), 1, 0)

    outputs = jax.lax.map(lambda part: read_out(*part), tuple(cut(array) for array in arrays))
    # [chunks, B, length, ...] -> [B, M, ...]
    return jax.tree.map(
        lambda part: jnp.moveaxis(part, 0, 1).reshape(B, -1, *part.shape[3:])[:, :M], outputs
    )


def _padded(
    features: Sequence[Mapping[str, np.ndarray]], num_rows: int, num_targets: int
) -> dict[str, np.ndarray]:
    return {
        name: _rows([row[name] for row in features], num_rows, num_targets) for name in features[0]
    }


def _rows(arrays: Sequence[np.ndarray], num_rows: int, num_targets: int) -> np.ndarray:
    padded = np.zeros((num_rows, num_targets, *arrays[0].shape[1:]), arrays[0].dtype)
    for index, array in enumerate(arrays):
        padded[index, : len(array)] = array
    return padded
