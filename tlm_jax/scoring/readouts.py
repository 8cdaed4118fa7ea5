"""Readouts of a teacher's distribution at each target: candidates, draws, hidden states.

Each is a `forced.Look`. Logits exist for `chunk_tokens` targets at a time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int, Key, UInt32

from tlm_jax.losses.top_candidates import Found, known, most_probable
from tlm_jax.scoring.forced import over_chunks
from tlm_jax.sharding import rules as sharding_rules
from tlm_jax.sharding.rules import constrain
from tlm_jax.types import Batch, Unembedding

SEEDS, POSITIONS = "seeds", "positions"
"""Features of targets that `Draws` reads: two words of seed, and the place in the continuation."""


@dataclass(frozen=True)
class TopCandidates:
    """The C most probable tokens and the exact mass of the others.

    Attributes:
      num_candidates: C.
      num_ids: ids from here on are none of the vocabulary (rows that pad an embedding); what mass
        the model gives them is part of the tail.
      temperature: of the distribution, softmax(logits / temperature).
      chunk_tokens: how many targets' logits exist at a time.
      vocab_shards: into how many parts the mesh splits the vocabulary; the best of each part are
        found where it lies.
    """

    num_candidates: int
    num_ids: int
    temperature: float = 1.0
    chunk_tokens: int = 1024
    vocab_shards: int = 1

    def __call__(
        self, hidden: Float[Array, "B M D"], unembedding: Unembedding, batch: Batch
    ) -> Found:
        return over_chunks(
            lambda part: most_probable(
                _logits(part, unembedding, self.temperature),
                self.num_candidates,
                num_ids=self.num_ids,
                vocab_shards=self.vocab_shards,
            ),
            (hidden,),
            self.chunk_tokens,
        )


@dataclass(frozen=True)
class Draws:
    """N tokens drawn from the whole distribution, the same for the same seeds in any batch.

    Attributes:
      num_draws: N.
      num_ids: as in `TopCandidates`; ids beyond are not drawn.
      temperature: as in `TopCandidates`.
      chunk_tokens: as in `TopCandidates`.
    """

    num_draws: int
    num_ids: int
    temperature: float = 1.0
    chunk_tokens: int = 1024

    def __call__(
        self, hidden: Float[Array, "B M D"], unembedding: Unembedding, batch: Batch
    ) -> Int[Array, "B M N"]:
        def drawn(part: Array, seeds: Array, positions: Array) -> Array:
            logits = _logits(part, unembedding, self.temperature)
            logits = jnp.where(known(logits, self.num_ids), logits, -jnp.inf)
            return draw(logits, uniforms(seeds, positions, self.num_draws))

        return over_chunks(drawn, (hidden, batch[SEEDS], batch[POSITIONS]), self.chunk_tokens)


@dataclass(frozen=True)
class LastHidden:
    """What the unembedding multiplies, in bfloat16."""

    def __call__(
        self, hidden: Float[Array, "B M D"], unembedding: Unembedding, batch: Batch
    ) -> Float[Array, "B M D"]:
        return hidden.astype(jnp.bfloat16)


def draw(logits: Float[Array, "B m V"], uniform: Float[Array, "B m N two"]) -> Int[Array, "B m N"]:
    """Draws tokens by inverting the cumulative distribution, from two uniform numbers each.

    The first chooses a block of the vocabulary, the second a token within it. One number over the
    whole would have float32's resolution of 6e-8 for every token, too coarse for improbable ones;
    here it is that of a block's share.
    """
    B, m, V = logits.shape
    mass = jnp.exp(logits - jnp.max(logits, axis=-1, keepdims=True))
    blocks = jnp.pad(mass, ((0, 0), (0, 0), (0, -V % _BLOCK))).reshape(B, m, -1, _BLOCK)
    block = _place(jnp.sum(blocks, axis=-1)[:, :, None, :], uniform[..., 0])
    inside = jnp.take_along_axis(blocks, block[..., None], axis=2)
    return block * _BLOCK + _place(inside, uniform[..., 1])


def uniforms(
    seeds: UInt32[Array, "B m two"], positions: Int[Array, "B m"], num_draws: int
) -> Float[Array, "B m N two"]:
    """Returns numbers in [0, 1) that depend on a target's seed and position alone."""

    def of_target(seed: UInt32[Array, "two"], position: Int[Array, ""]) -> Float[Array, "N two"]:
        key: Key[Array, ""] = jax.random.wrap_key_data(seed, impl="threefry2x32")
        return jax.random.uniform(jax.random.fold_in(key, position), (num_draws, 2))

    return jax.vmap(jax.vmap(of_target))(seeds, positions)


def vocab_shards(
    num_embeddings: int,
    mesh: Mesh | None,
    rules: sharding_rules.Rules = sharding_rules.LOGICAL_AXIS_RULES,
) -> int:
    """Returns into how many parts a mesh splits a vocabulary of so many rows."""
    if mesh is None:
        return 1
    axes = sharding_rules.activation_spec(("vocab",), (num_embeddings,), mesh, rules)[0]
    names = (axes,) if isinstance(axes, str) else axes or ()
    return math.prod(mesh.shape[name] for name in names)


_BLOCK = 512
"""Tokens of a block in `draw`: about the root of a vocabulary, so that both steps are short."""


def _logits(
    hidden: Float[Array, "B m D"], unembedding: Unembedding, temperature: float
) -> Float[Array, "B m V"]:
    logits = constrain(unembedding.logits(hidden), ("batch", "length", "vocab"))
    return logits if temperature == 1 else logits / temperature


def _place(mass: Float[Array, "B m #N R"], uniform: Float[Array, "B m N"]) -> Int[Array, "B m N"]:
    """Returns the first place where the cumulative mass exceeds `uniform` of the whole."""
    ends = jnp.cumsum(mass, axis=-1)
    passed = (ends > uniform[..., None] * ends[..., -1:]) & (mass > 0)
    # Rounding can leave no place past the target: then it is the last with any mass.
    last = mass.shape[-1] - 1 - jnp.argmax((mass > 0)[..., ::-1], axis=-1)
    place = jnp.where(jnp.any(passed, axis=-1), jnp.argmax(passed, axis=-1), last)
    return place.astype(jnp.int32)
