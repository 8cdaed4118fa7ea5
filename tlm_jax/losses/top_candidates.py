"""The most probable tokens at each place and the mass outside them, from hidden states."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Num

from tlm_jax.losses.teachers import SparseTeacher
from tlm_jax.sharding.rules import batch_shards, constrain
from tlm_jax.types import Unembedding


class Found(NamedTuple):
    """The most probable tokens at each target.

    Attributes:
      ids: the most probable first.
      logprobs: nats.
      tail_logprobs: logarithm of the mass of all other tokens.
    """

    ids: Int[Array, "*targets C"]
    logprobs: Float[Array, "*targets C"]
    tail_logprobs: Float[Array, "*targets"]


def top_candidates(
    hidden: Float[Array, "B T E"],
    unembedding: Unembedding,
    weights: Num[Array, "B T"],
    num_candidates: int,
    *,
    temperature: float = 1.0,
    chunk_tokens: int = 512,
) -> SparseTeacher:
    """Returns the C most probable tokens at each place, by softmax(logits / temperature).

    The T axis is cut into chunks of about `chunk_tokens` tokens on each device; the logits of one
    chunk at a time exist.

    Args:
      hidden: the teacher's last hidden states.
      unembedding: from them to logits.
      weights: 1 where the teacher is to be heard; goes into the result.
      num_candidates: C; no more than the vocabulary has tokens.
      temperature: divides the logits.
      chunk_tokens: at least one position of every row is worked on at once.

    Returns:
      Natural logarithms; the tail is the log-sum-exp over all other tokens, exact however small.
    """
    rows, length = weights.shape
    chunk_length = min(length, max(1, chunk_tokens * batch_shards() // rows))
    num_chunks = -(-length // chunk_length)

    def one(chunk: Float[Array, "B t E"]) -> Found:
        product = constrain(
            unembedding.product(unembedding.scaled(chunk)), ("batch", "length", "vocab")
        )
        return most_probable(unembedding.finish(product) / temperature, num_candidates)

    if num_chunks == 1:
        return SparseTeacher(*one(hidden), weights)
    end = num_chunks * chunk_length - length
    padded = jnp.pad(hidden, ((0, 0), (0, end), (0, 0)))
    # [B, chunks t, E] -> [chunks, B, t, E], and back.
    chunks = jnp.moveaxis(padded.reshape(rows, num_chunks, chunk_length, -1), 1, 0)
    found = jax.lax.map(one, chunks)
    ids, logprobs, tail = (
        jnp.moveaxis(x, 0, 1).reshape(rows, num_chunks * chunk_length, *x.shape[3:])[:, :length]
        for x in found
    )
    return SparseTeacher(ids, logprobs, tail, weights)


def most_probable(
    logits: Float[Array, "B m V"],
    num_candidates: int,
    *,
    num_ids: int | None = None,
    vocab_shards: int = 1,
) -> Found:
    """Returns the most probable tokens, of equals the one of lower id first, and the others' mass.

    The tail is the log-sum-exp of the other logits themselves, not 1 less the candidates' sum, so
    that a small one keeps its digits.

    Args:
      logits: float32.
      num_candidates: C; no more than `num_ids` are found.
      num_ids: ids from here on are none of the vocabulary (rows that pad an embedding); what mass
        the model gives them is part of the tail. None: all are.
      vocab_shards: into how many parts the mesh splits the vocabulary; the best of each part are
        found where it lies.
    """
    num_ids = logits.shape[-1] if num_ids is None else num_ids
    in_vocabulary = known(logits, num_ids)
    allowed = jnp.where(in_vocabulary, logits, -jnp.inf)
    total = jax.nn.logsumexp(logits, axis=-1, keepdims=True)
    # The barrier keeps XLA from seeing that a part of the result is sliced off again below: it
    # would then sort the whole vocabulary instead, at 30 times the cost (jax 0.10 on CPU). One
    # for both would take top_k's tuple as it is, at which XLA's TopkDecomposer ends the process.
    found = _top(allowed, min(num_candidates, num_ids), vocab_shards)
    values, ids = map(jax.lax.optimization_barrier, found)
    least = values[..., -1:]
    others = jnp.where((logits < least) | ~in_vocabulary, logits, -jnp.inf)
    # Logits equal to the last candidate's are neither below it nor all among the candidates.
    equal = jnp.sum(allowed == least, axis=-1) - jnp.sum(values == least, axis=-1)
    tail = jnp.logaddexp(
        jax.nn.logsumexp(others, axis=-1),
        jnp.where(equal > 0, least[..., 0] + jnp.log(jnp.maximum(equal, 1)), -jnp.inf),
    )
    return Found(ids.astype(jnp.int32), values - total, tail - total[..., 0])


def known(logits: Float[Array, "B m V"], num_ids: int) -> Bool[Array, "1 1 V"]:
    """Tells the ids of the vocabulary from rows that pad an embedding."""
    return (jnp.arange(logits.shape[-1]) < num_ids)[None, None]


def _top(
    logits: Float[Array, "B m V"], count: int, shards: int
) -> tuple[Float[Array, "B m C"], Int[Array, "B m C"]]:
    """Returns the `count` largest and their ids: first those of each shard, then among these."""
    B, m, V = logits.shape
    if shards == 1 or V % shards or V // shards < count:
        values, ids = jax.lax.top_k(logits, count)
        return values, ids
    parts = constrain(logits.reshape(B, m, shards, V // shards), ("batch", "length", "vocab", None))
    values, places = jax.lax.top_k(parts, count)
    ids = places + (jnp.arange(shards) * (V // shards))[None, None, :, None]
    values, chosen = jax.lax.top_k(values.reshape(B, m, -1), count)
    return values, jnp.take_along_axis(ids.reshape(B, m, -1), chosen, axis=-1)
