"""On-policy batches: the student's own samples in place of the targets (GKD, arXiv 2306.13649)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int

from tlm_jax import models
from tlm_jax.decoding.generate import Decoded, generate
from tlm_jax.errors import UserError
from tlm_jax.sharding import rules
from tlm_jax.types import Batch, Params


@dataclasses.dataclass(frozen=True)
class OnPolicy:
    """With what probability a step trains on the student's samples, and how these are drawn.

    Attributes:
      student_share: GKD's λ, the probability that a step's targets are samples of the student; a
        number or a schedule of the step. 0 is ordinary distillation, 1 is fully on-policy.
      temperature: of the samples.
      max_new_tokens: the longest sample; None for the length of the targets.
      seed: decides which steps are on-policy, and the samples; both are functions of seed and step,
        so that resuming changes nothing.
    """

    student_share: float | int | Callable[[Any], Any] = 0.5
    temperature: float = 1.0
    max_new_tokens: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        share = self.student_share
        if isinstance(share, int | float) and not 0 <= share <= 1:
            raise UserError(f"OnPolicy.student_share is {share}: expected from 0 to 1")
        if not self.temperature > 0:
            raise UserError(f"OnPolicy.temperature is {self.temperature}: expected above 0")
        if self.max_new_tokens is not None and self.max_new_tokens < 1:
            raise UserError(
                f"OnPolicy.max_new_tokens is {self.max_new_tokens}: expected at least 1"
            )

    def samples_at(self, step: int) -> bool:
        """Returns whether the step trains on samples; the same on every host."""
        share = self.student_share
        share = float(share(step)) if callable(share) else float(share)
        return bool(np.random.default_rng((self.seed, 0x60D, step)).random() < share)

    def key(self, step: int | Int[Array, ""]) -> jax.Array:
        """Returns the key of a step's samples."""
        return jax.random.fold_in(jax.random.PRNGKey(self.seed), step)


def on_policy_batch(
    params: Params,
    batch: Batch,
    key: jax.Array,
    config: models.ModelConfig,
    *,
    temperature: float,
    max_new_tokens: int,
    eos_ids: tuple[int, ...],
) -> Batch:
    """Returns the batch with the targets of each row replaced by a sample of the model.

    A sample carries loss up to and including its EOS; one that has none by the end of the row, to
    the end. Rows of padding stay padding. Segment ids say what is real, whatever the vocabulary: a
    student may draw any id, 0 too. No gradient flows through the samples: Eq. 4 of the paper treats
    them as data.

    Args:
      params: the student's.
      batch: one example a row; where it has no segment ids, id 0 is padding in the prompts.
      key: of the samples.
      config: the student.
      temperature: of the samples.
      max_new_tokens: the most tokens drawn; no more than fit behind the prompt are used.
      eos_ids: tokens that end a sample.
    """

    def draw(logits: Float[Array, "B V"], step: Int[Array, ""]) -> Int[Array, " B"]:
        return jax.random.categorical(jax.random.fold_in(key, step), logits / temperature)

    decoded = generate(
        jax.lax.stop_gradient(params),
        batch,
        config,
        draw,
        max_decode_steps=max_new_tokens,
        eos_ids=eos_ids,
    )
    return _with_targets(batch, decoded, config.is_encoder_decoder)


def _with_targets(batch: Batch, decoded: Decoded, pair: bool) -> Batch:
    targets = batch["decoder_target_tokens"]
    rows = jnp.arange(targets.shape[1])[None]
    if pair:
        start = jnp.zeros_like(targets[:, :1])
    else:
        # The mark covers the prompt and the first target's place.
        start = jnp.sum(batch["decoder_causal_attention"], axis=1, keepdims=True) - 1
    place = rows - start  # of the sample's token that stands here
    inside = (place >= 0) & (place < decoded.lengths[:, None])
    inside &= jnp.any(batch["decoder_loss_weights"] > 0, axis=1, keepdims=True)
    room = decoded.tokens.shape[1]
    sampled = jnp.take_along_axis(decoded.tokens, jnp.clip(place, 0, room - 1), axis=1)
    new_targets = jnp.where(inside, sampled, jnp.where(place < 0, targets, 0))
    shifted = jnp.pad(new_targets[:, :-1], ((0, 0), (1, 0)))
    inputs = jnp.where(rows == 0, batch["decoder_input_tokens"], shifted)
    real = inside | (place < 0)
    replaced: dict[str, Array] = {
        "decoder_target_tokens": new_targets,
        "decoder_input_tokens": inputs,
        "decoder_loss_weights": inside.astype(jnp.float32),
        "decoder_segment_ids": real.astype(jnp.int32),
        "decoder_positions": jnp.where(real, rows, 0),
    }
    return {**batch, **replaced}


class OnPolicySampler:
    """Replaces the batches of on-policy steps; a jitted program a shape of batch.

    Args:
      config: the student.
      settings: which steps, and how.
      eos_ids: tokens that end a sample.
      student: `student(frozen, trained)` returns the student's parameters.
      mesh: that of the train step.
    """

    def __init__(
        self,
        config: models.ModelConfig,
        settings: OnPolicy,
        eos_ids: tuple[int, ...],
        student: Callable[[Any, Params], Params],
        mesh: Mesh,
    ):
        self.settings = settings
        self.steps = 0

        def sample(frozen: Any, trained: Params, batch: Batch, step: Int[Array, ""]) -> Batch:
            length = batch["decoder_target_tokens"].shape[1]
            with rules.use_rules(mesh):
                return on_policy_batch(
                    student(frozen, trained),
                    batch,
                    settings.key(step),
                    config,
                    temperature=settings.temperature,
                    max_new_tokens=settings.max_new_tokens or length,
                    eos_ids=eos_ids,
                )

        self._sample = jax.jit(sample, out_shardings=rules.batch_sharding(mesh))

    def __call__(
        self, frozen: Any, trained: Params, batch: Mapping[str, Array], step: int
    ) -> Mapping[str, Array]:
        """Returns the batch of step number `step` (from 0): as it is, or with samples."""
        if not self.settings.samples_at(step):
            return batch
        self.steps += 1
        return self._sample(frozen, trained, batch, jnp.asarray(step, jnp.int32))
