"""A student's log-probabilities of C candidates a token and of all other tokens together."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from tlm_jax.losses.columns import Columns


def candidate_log_probabilities(
    logits: Float[Array, "*batch V"],
    token_ids: Int[Array, "*batch C"],
    present: Bool[Array, "*batch C"],
    *,
    temperature: float = 1.0,
    columns: Columns | None = None,
) -> tuple[Float[Array, "*batch C"], Float[Array, "*batch"]]:
    """Returns log q of each candidate, and the log of the mass of all tokens that are none.

    With q = softmax(logits / temperature) the tail is a log-sum-exp over the other tokens
    themselves, not 1 minus the candidates' mass, so that it is exact however small it is, -inf only
    if no token is left.

    The gradient is written out: it is one sweep over the logits, with the C candidates' values put
    in. With cotangents g of the candidates and h of the tail, and G their sum,
    dL/dx_v = g_v - G q_v for a candidate, (h / q_tail - G) q_v for any other token.

    Where the vocabulary is split over devices each works on its own part: they exchange
    [tokens, C].

    Args:
      logits: float32.
      token_ids: distinct where present.
      present: False is padding: its log q is -inf, its id belongs to the tail.
      temperature: divides the logits.
      columns: which of the logits these are, with `candidate_statistics` of all; None: these are
        all.
    """
    if columns is None:
        statistics = candidate_statistics(logits, token_ids, present, temperature=temperature)
    else:
        statistics = columns.statistics
    tokens = None
    if columns is not None and logits.shape[-1] < columns.vocabulary_size:
        tokens = columns.ids
    results: Any = _log_probabilities(temperature, statistics, logits, tokens)
    return results


class CandidateStatistics(NamedTuple):
    """What candidates' log-probabilities know of tokens' logits.

    Attributes:
      ids: the candidates; -1 marks padding.
      largest_other: the largest logit of a token that is no candidate.
      sum_others: the sum of such tokens' exponentials relative to it.
      log_q: of the candidates.
      log_tail: of all other tokens together.
    """

    ids: Int[Array, "*batch C"]
    largest_other: Float[Array, "*batch"]
    sum_others: Float[Array, "*batch"]
    log_q: Float[Array, "*batch C"]
    log_tail: Float[Array, "*batch"]


def candidate_statistics(
    logits: Float[Array, "*batch V"],
    token_ids: Int[Array, "*batch C"],
    present: Bool[Array, "*batch C"],
    *,
    temperature: float,
) -> CandidateStatistics:
    """Returns what `candidate_log_probabilities` needs to know of all logits."""
    logits = jax.lax.stop_gradient(logits)
    ids = jnp.where(present & (token_ids < logits.shape[-1]), token_ids, -1)
    others = _replaced(logits, ids, jnp.full(ids.shape, -jnp.inf, logits.dtype))
    largest_other = jnp.max(others, axis=-1)
    sum_others = jnp.sum(jnp.exp(_shifted(others, largest_other, temperature)), axis=-1)
    at_ids = jnp.take_along_axis(logits, jnp.maximum(ids, 0), axis=-1)
    at_ids = jnp.where(ids >= 0, at_ids, -jnp.inf)
    largest = jnp.maximum(jnp.max(at_ids, axis=-1), largest_other)
    # Relative to the largest logit, because where logits are large their log-sum-exp has lost the
    # digits that matter.
    relative = _shifted(at_ids, largest, temperature)
    relative_tail = _shifted(largest_other[..., None], largest, temperature)[..., 0]
    relative_tail += jnp.log(sum_others)
    log_sum = jnp.logaddexp(jax.nn.logsumexp(relative, axis=-1), relative_tail)
    log_q, log_tail = relative - log_sum[..., None], relative_tail - log_sum
    return CandidateStatistics(ids, largest_other, sum_others, log_q, log_tail)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _log_probabilities(
    temperature: float,
    statistics: CandidateStatistics,
    logits: Array,
    tokens: Int[Array, " v"] | None,
) -> tuple[Array, Array]:
    """Returns log q of candidates and tail; the logits are those of `tokens`, by default of all."""
    del temperature, logits, tokens
    return statistics.log_q, statistics.log_tail


def _forward(temperature, statistics, logits, tokens):
    del temperature
    return (statistics.log_q, statistics.log_tail), (statistics, logits, tokens)


def _backward(temperature, residuals, cotangents):
    statistics, logits, tokens = residuals
    g, h = cotangents
    # Without the barrier XLA may keep the forward sweep's exponentials for this one.
    ids, largest_other, sum_others, log_q, log_tail = jax.lax.optimization_barrier(statistics)
    g = jnp.where(ids >= 0, g, 0.0)
    total = jnp.sum(g, axis=-1) + h
    # A token's share of the tail is exp((x - largest other) / temperature) / sum others.
    scale = (h - total * jnp.exp(log_tail)) / jnp.where(sum_others == 0, 1.0, sum_others)
    at_others = scale[..., None] * jnp.exp(
        # Below 0 for every token of the tail; candidates may overflow and are replaced.
        jnp.minimum(_shifted(logits, largest_other, temperature), 0.0)
    )
    at_ids = g - total[..., None] * jnp.exp(log_q)
    if tokens is None and ids.shape[-1] > _FEW:
        d_logits = _replaced(at_others, ids, at_ids)
    else:
        tokens = jnp.arange(logits.shape[-1]) if tokens is None else tokens
        d_logits = _selected(at_others, tokens, ids, at_ids)
    return None, d_logits / temperature, None


_log_probabilities.defvjp(_forward, _backward)


_FEW = 16
"""Up to so many candidates, comparing every token with them costs less than a further array."""


def _selected(array: Array, tokens: Array, ids: Array, values: Array) -> Array:
    """Returns what `_replaced` does, in the sweep that makes `array` and adds other gradients."""
    tokens = jnp.expand_dims(tokens, range(array.ndim - 1))
    for c in range(ids.shape[-1]):
        array = jnp.where(tokens == ids[..., c, None], values[..., c, None], array)
    return array


def _shifted(logits: Array, largest: Array, temperature: float) -> Array:
    """Returns (logits - largest) / temperature, also where the largest is -inf."""
    shifted = logits - jnp.where(jnp.isneginf(largest), 0.0, largest)[..., None]
    return shifted if temperature == 1.0 else shifted / temperature


def _replaced(
    array: Float[Array, "*batch V"], ids: Int[Array, "*batch C"], values: Float[Array, "*batch C"]
) -> Float[Array, "*batch V"]:
    """Returns the array with `values` at `ids`; the id -1 is dropped.

    Mapped over the leading axes rather than indexed by them: only then does the partitioner see
    that every row, and every part of the vocabulary, is replaced where it lies.
    """

    def one(row: Array, row_ids: Array, row_values: Array) -> Array:
        return row.at[row_ids].set(row_values, mode="drop")

    replace: Callable[..., Array] = one
    for _ in range(array.ndim - 1):
        replace = jax.vmap(replace)
    return replace(array, jnp.where(ids < 0, array.shape[-1], ids), values)
