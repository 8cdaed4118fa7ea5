"""The most probable tokens at each place and the mass outside them, from hidden states."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Num

from tlm_jax.losses.candidates import candidate_log_probabilities
from tlm_jax.losses.teachers import SparseTeacher
from tlm_jax.sharding.rules import batch_shards, constrain
from tlm_jax.types import Unembedding


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
    num_candidates = min(num_candidates, unembedding.matrix.shape[1])

    def one(chunk: Float[Array, "B t E"]) -> tuple[Array, Array, Array]:
        product = constrain(
            unembedding.product(unembedding.scaled(chunk)), ("batch", "length", "vocab")
        )
        logits = unembedding.finish(product)
        _, ids = jax.lax.top_k(logits, num_candidates)
        logprobs, tail = candidate_log_probabilities(
            logits, ids, jnp.ones_like(ids, bool), temperature=temperature
        )
        return ids, logprobs, tail

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
