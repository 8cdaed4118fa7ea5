"""Sums and weights, so that whoever accumulates a loss or a metric divides exactly once."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Num

from tlm_jax.errors import UserError, nearest
from tlm_jax.types import Batch

LossNormalization = str | float | int | None
"""What divides a batch's summed loss: see `loss_weights_and_normalizer`."""

AUTO = "AUTO"
"""The normalization that leaves the choice to a run, which may go on from an optimizer's state."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class WeightedSum:
    """A weighted sum `sum_i w_i x_i` beside its weight `sum_i w_i`; sums add, means do not.

    Both are scalar arrays. The annotation is wider because JAX rebuilds a pytree with whatever a
    transformation puts at its leaves: shapes, shardings, None.
    """

    total: Any
    weight: Any

    def merge(self, other: WeightedSum) -> WeightedSum:
        """Returns the sum over both parts: micro-batches, batches or hosts."""
        return WeightedSum(self.total + other.total, self.weight + other.weight)

    __add__ = merge

    def mean(self) -> Float[Array, ""]:
        """Returns total / weight, or 0 where nothing was weighed."""
        empty = self.weight == 0
        return jnp.where(empty, 0.0, self.total / jnp.where(empty, 1, self.weight))


class LossOutput(NamedTuple):
    """What an objective returns: the loss to differentiate, and figures to report."""

    loss: WeightedSum
    metrics: dict[str, WeightedSum]

    def with_normalizer(self, normalizer: Num[Array, ""]) -> LossOutput:
        """Returns the same sums with the loss divided, in the end, by `normalizer`."""
        return self._replace(loss=WeightedSum(self.loss.total, normalizer))


def loss_weights_and_normalizer(
    normalization: LossNormalization, batch: Batch, *, batch_rows: int | None = None
) -> tuple[Float[Array, "B T"], Float[Array, ""]]:
    """Returns the weight of each target token and what the weighted loss is to be divided by.

    The choices are T5X's (`loss_normalizing_factor`), by name or value:

    - `None` or `"none"`: 1, a plain sum;
    - a number: that number;
    - `"NUM_REAL_TARGET_TOKENS"`: the sum of the weights;
    - `"NUM_TOTAL_TARGET_TOKENS"`: rows times length, padding included;
    - `"AVERAGE_PER_SEQUENCE"`: the weights of each sequence (each segment, when packed) are first
      divided by their sum; then as `NUM_REAL_TARGET_TOKENS`;
    - `"AUTO"`: as `NUM_REAL_TARGET_TOKENS`, where no run has chosen (`runs.normalization`).

    Normalizers add up over the micro-batches of a batch, so a constant (the first two choices) is
    shared out by rows: a micro-batch of r rows gets r / batch_rows of it.

    Args:
      normalization: one of the above; names may be written in lower case.
      batch: `decoder_target_tokens` `[B, T]` and, where present, `decoder_loss_weights` (else the
        weight is 1 where the target is not 0) and `decoder_segment_ids` (0 is padding).
      batch_rows: rows of the whole batch; by default `batch` is the whole.

    Raises:
      UserError: the name is unknown or the number is not positive.

    Source: t5x.losses.get_loss_normalizing_factor_and_weights. Segments are told apart by
    `decoder_segment_ids` here, by `decoder_positions == 0` there.
    """
    targets = batch["decoder_target_tokens"]
    weights = batch.get("decoder_loss_weights", targets > 0).astype(jnp.float32)
    kind = canonical_normalization(normalization)
    if isinstance(kind, float) or kind == NONE:
        constant = 1.0 if kind == NONE else kind
        share = 1.0 if batch_rows is None else targets.shape[0] / batch_rows
        return weights, jnp.float32(constant * share)
    if kind == "NUM_TOTAL_TARGET_TOKENS":
        return weights, jnp.float32(targets.size)
    if kind == "AVERAGE_PER_SEQUENCE":
        weights = _divide_by_sequence(weights, batch.get("decoder_segment_ids"))
    return weights, jnp.sum(weights)


REAL_TOKENS = "NUM_REAL_TARGET_TOKENS"
NONE = "none"
_NAMES = (REAL_TOKENS, "NUM_TOTAL_TARGET_TOKENS", "AVERAGE_PER_SEQUENCE")


def canonical_normalization(normalization: LossNormalization) -> str | float:
    """Returns one spelling of each choice: `NONE`, a number, or a name in capitals.

    Raises:
      UserError: the name is unknown or the number is not positive.
    """
    if normalization is None:
        return NONE
    if isinstance(normalization, str):
        name = normalization.upper()
        if name == NONE.upper():
            return NONE
        if name in (*_NAMES, AUTO):
            return name
        raise UserError(
            f"unknown loss normalization {normalization!r}: expected a positive number or one of "
            f"none, {', '.join((*_NAMES, AUTO))}.{nearest(name, _NAMES)}"
        )
    if normalization <= 0:
        raise UserError(
            f"loss normalization {normalization} is not positive: give a number above 0, None, or "
            f"one of {', '.join(_NAMES)}"
        )
    return float(normalization)


def _divide_by_sequence(
    weights: Float[Array, "B T"], segment_ids: Num[Array, "B T"] | None
) -> Float[Array, "B T"]:
    if segment_ids is None:
        sums = jnp.broadcast_to(jnp.sum(weights, axis=1, keepdims=True), weights.shape)
    else:
        length = weights.shape[1]  # a row of T tokens holds at most T segments, and padding

        def sums_of_row(row_weights, row_segments):
            by_segment = jax.ops.segment_sum(row_weights, row_segments, num_segments=length + 1)
            return by_segment[row_segments]

        sums = jax.vmap(sums_of_row)(weights, segment_ids)
    return jnp.where(sums == 0, 0.0, weights / jnp.where(sums == 0, 1.0, sums))
