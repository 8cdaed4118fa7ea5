"""The engine's rows on the device: each step adds a token to every live one."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from tlm_jax import models
from tlm_jax.decoding.samplers import RowSampling, choose, penalized
from tlm_jax.types import Params


class Rows(NamedTuple):
    """What each row is doing; a row that is not live does nothing of consequence.

    Attributes:
      cache: keys and values; rows that follow each other share a prompt.
      last: the token that the next step reads.
      generated: number of tokens so far.
      limit: the most there may be.
      live: whether the row has a sample that goes on.
      sampling: settings.
      seen: tokens that a repetition penalty counts; None while no row has one.
    """

    cache: models.Cache
    last: Int[Array, " B"]
    generated: Int[Array, " B"]
    limit: Int[Array, " B"]
    live: Bool[Array, " B"]
    sampling: RowSampling
    seen: Bool[Array, "B V"] | None


class Chosen(NamedTuple):
    """A token for each row. Candidates are None where none are asked for.

    Attributes:
      tokens: ids, -1 where a row is not live.
      logprobs: of the model itself, nats.
      ids: of the most probable tokens.
      candidate_logprobs: theirs.
      outside: logarithm of the mass of all others.
    """

    tokens: Int[Array, "*T B"]
    logprobs: Float[Array, "*T B"]
    ids: Int[Array, "*T B C"] | None
    candidate_logprobs: Float[Array, "*T B C"] | None
    outside: Float[Array, "*T B"] | None


def steps(
    params: Params,
    state: Rows,
    first_slots: Mapping[str, Int[Array, ""]],
    number: Int[Array, ""],
    fewest_live: Int[Array, ""],
    config: models.ModelConfig,
    eos_ids: tuple[int, ...],
    num_candidates: int,
    most: int,
    prefix: models.Prefix | None = None,
) -> tuple[Rows, Chosen, Int[Array, ""]]:
    """Generates up to `number` tokens in each live row, at the slots from `first_slots`.

    Ends early when fewer than `fewest_live` rows are live. Returns the rows, the tokens [T, B] with
    T = `most`, and how many steps were made; what lies beyond them means nothing. `prefix` is what
    the prompts of all rows begin with; it is only read, so that all steps share one copy.
    """
    slots = {
        name: slots._replace(next=first_slots[name]) for name, slots in state.cache.slots.items()
    }
    state = state._replace(cache=state.cache._replace(slots=slots))
    made = _blank(most, state, num_candidates)

    def goes_on(carry: tuple[jax.Array, Rows, Chosen]) -> jax.Array:
        step, state, _ = carry
        return (step < number) & (jnp.sum(state.live) >= fewest_live)

    def body(carry: tuple[jax.Array, Rows, Chosen]) -> tuple[jax.Array, Rows, Chosen]:
        step, state, made = carry
        position = state.cache.next_position
        cache, logits = models.decode_step(params, state.cache, state.last, config, prefix=prefix)
        # Rows that wait stay where they are: beyond the last position there may be no embedding.
        cache = cache._replace(next_position=jnp.where(state.live, cache.next_position, position))
        state, chosen = advance(
            state._replace(cache=cache), logits, state.live, eos_ids, num_candidates
        )
        write = functools.partial(jax.lax.dynamic_update_index_in_dim, index=step, axis=0)
        return step + 1, state, jax.tree.map(write, made, chosen)

    made_steps, state, made = jax.lax.while_loop(
        goes_on, body, (jnp.zeros((), jnp.int32), state, made)
    )
    return state, made, made_steps


def advance(
    state: Rows,
    logits: Float[Array, "B V"],
    acts: Bool[Array, " B"],
    eos_ids: tuple[int, ...],
    num_candidates: int,
) -> tuple[Rows, Chosen]:
    """Chooses a token in the rows that act, and ends those that are through."""
    logits = logits.astype(jnp.float32)
    judged, seen = logits, state.seen
    if seen is not None:
        judged = penalized(logits, seen, state.sampling.repetition_penalty)
    token = choose(judged, state.sampling, state.generated)
    total = jax.nn.logsumexp(logits, axis=-1)
    logprob = jnp.take_along_axis(logits, token[:, None], axis=-1)[:, 0] - total
    if seen is not None:
        # Rows that do not act have seen nothing new: their token goes where a scatter drops it.
        places = jnp.where(acts, token, seen.shape[1])
        seen = jax.vmap(lambda row, at: row.at[at].set(True, mode="drop"))(seen, places)
    generated = state.generated + acts
    ends = generated >= state.limit
    for eos_id in eos_ids:
        ends |= token == eos_id
    chosen = Chosen(
        jnp.where(acts, token, -1), logprob, *_candidates(logits, total, num_candidates)
    )
    last = jnp.where(acts, token, state.last)
    return state._replace(last=last, generated=generated, live=acts & ~ends, seen=seen), chosen


def _candidates(
    logits: Float[Array, "B V"], total: Float[Array, " B"], number: int
) -> tuple[jax.Array | None, jax.Array | None, jax.Array | None]:
    if not number:
        return None, None, None
    values, ids = jax.lax.top_k(logits, number)
    others = jax.vmap(lambda row, at: row.at[at].set(-jnp.inf))(logits, ids)
    return ids, values - total[:, None], jax.nn.logsumexp(others, axis=-1) - total


def _blank(most: int, state: Rows, num_candidates: int) -> Chosen:
    B, C = state.last.shape[0], num_candidates
    floats = jnp.zeros((most, B), jnp.float32)
    return Chosen(
        jnp.zeros((most, B), jnp.int32),
        floats,
        jnp.zeros((most, B, C), jnp.int32) if C else None,
        jnp.zeros((most, B, C), jnp.float32) if C else None,
        floats if C else None,
    )
