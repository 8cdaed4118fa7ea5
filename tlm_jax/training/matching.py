"""Compares inner states of a student and a live teacher in the step that trains the student."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from tlm_jax import models
from tlm_jax.errors import UserError
from tlm_jax.losses.matching import (
    Attention,
    HiddenStates,
    Projections,
    init_projections,
    match_attention,
    match_hidden_states,
    projection_axes,
)
from tlm_jax.losses.reduction import (
    LossNormalization,
    LossOutput,
    WeightedSum,
    loss_weights_and_normalizer,
)
from tlm_jax.models import masks
from tlm_jax.types import Batch


@dataclass(frozen=True)
class InnerMatching:
    """What is matched between two models that read the same tokens at the same places.

    Attributes:
      settings: at most one for each kind and stack.
      student: the model that is trained.
      teacher: the live teacher's.
    """

    settings: tuple[HiddenStates | Attention, ...]
    student: models.ModelConfig
    teacher: models.ModelConfig

    def __post_init__(self) -> None:
        """Checks the settings against the two models.

        Raises:
          UserError: two settings are of the same states, or a model has not what is matched.
        """
        names = [matching.name for matching in self.settings]
        for name in names:
            if names.count(name) > 1:
                raise UserError(f"{name} are matched twice: put all pairs into one `layers`")
        pairs = [config.is_encoder_decoder for config in self._configs]
        for matching in self.settings:
            of = f"{type(matching).__name__} matches {matching.name}"
            if "encoder" in matching.name or "cross" in matching.name:
                if not all(pairs):
                    raise UserError(f"{of}, but student and teacher are not both encoder-decoders")
            elif isinstance(matching, Attention) and pairs[0] != pairs[1]:
                raise UserError(
                    f"{of}, but a decoder-only model attends to the inputs where an "
                    "encoder-decoder's decoder does not: match HiddenStates, or take a teacher of "
                    "the student's architecture"
                )
            self._pairs(matching)

    @property
    def _configs(self) -> tuple[models.ModelConfig, models.ModelConfig]:
        return self.student, self.teacher

    def init(self, rng: jax.Array) -> dict[str, Projections]:
        """Returns new projections, by the name of their matching."""
        keys = jax.random.split(rng, len(self.settings))
        made = {}
        for matching, key in zip(self.settings, keys):
            own, its = (_size(matching, config) for config in self._configs)
            made[matching.name] = init_projections(
                key, matching, student_size=own, teacher_size=its
            )
        return made

    def axes(self) -> dict[str, Any]:
        """Returns the logical axes of the projections."""
        return {matching.name: projection_axes(matching) for matching in self.settings}

    def describe(self) -> str:
        """Returns a phrase for the terminal."""
        phrases = []
        for matching in self.settings:
            pairs = ", ".join(f"{own} to {its}" for own, its in self._pairs(matching))
            phrases.append(
                f"{matching.name} of layers {pairs} by {matching.measure}, "
                f"weight {matching.weight:g}"
            )
        return "; ".join(phrases)

    def student_keeps(self) -> models.Keeps:
        """Returns what `models.layer_states` is to keep of the student."""
        return self._keeps(0)

    def teacher_keeps(self) -> models.Keeps:
        """Returns the same of the teacher."""
        return self._keeps(1)

    def weigh(self, batch: Batch, normalization: LossNormalization) -> Batch:
        """Returns a whole batch with the weights that `loss` reads.

        A matching is a mean over the tokens that carry loss, or over the encoder's tokens, while
        micro-batches add up sums that are divided by the objective's normalizer at the end. So the
        weights are scaled to sum up to that normalizer, over the whole batch.

        Args:
          batch: before it is cut into micro-batches.
          normalization: the objective's.
        """
        of_target, _ = loss_weights_and_normalizer(None, batch)
        _, normalizer = loss_weights_and_normalizer(normalization, batch)
        weighed = {**batch, _WEIGHTS["decoder"]: _scaled(of_target, normalizer)}
        if any(matching.stack == "encoder" for matching in self.settings):
            of_input = (_segments(batch, "encoder") > 0).astype(jnp.float32)
            weighed[_WEIGHTS["encoder"]] = _scaled(of_input, normalizer)
        return weighed

    def loss(
        self,
        projections: dict[str, Projections],
        student: models.InnerStates,
        teacher: models.InnerStates,
        batch: Batch,
    ) -> LossOutput:
        """Returns the sum of `weight` times each matching, and each one's mean as a metric.

        Args:
          projections: as `init` makes them.
          student: with what `student_keeps` says.
          teacher: with what `teacher_keeps` says, at the student's places; constants.
          batch: of the student, with the weights of `weigh`.
        """
        parts: list[WeightedSum] = []
        metrics: dict[str, WeightedSum] = {}
        for matching in self.settings:
            kernels, weights = projections[matching.name], batch[_WEIGHTS[matching.stack]]
            arrays = self._chosen(matching, 0, student), self._chosen(matching, 1, teacher)
            if isinstance(matching, HiddenStates):
                output = match_hidden_states(kernels, *arrays, weights, matching)
            else:
                seen = self._visible(matching, batch)
                output = match_attention(kernels, *arrays, weights, seen, matching)
            parts.append(WeightedSum(matching.weight * output.loss.total, output.loss.weight))
            metrics |= output.metrics
        total = sum((part.total for part in parts), jnp.zeros(()))
        return LossOutput(WeightedSum(total, parts[0].weight), metrics)

    def _pairs(self, matching: HiddenStates | Attention) -> tuple[tuple[int, int], ...]:
        own, its = (config.stack_specs()[matching.stack] for config in self._configs)
        return matching.pairs(own.num_layers, its.num_layers)

    def _layers(self, matching: HiddenStates | Attention, side: int) -> tuple[int, ...]:
        """Returns the layers of student (0) or teacher (1), each once."""
        return tuple(sorted({pair[side] for pair in self._pairs(matching)}))

    def _keeps(self, side: int) -> models.Keeps:
        fields: dict[str, dict[str, tuple[int, ...]]] = {"decoder": {}, "encoder": {}}
        for matching in self.settings:
            fields[matching.stack][_field(matching)] = self._layers(matching, side)
        return models.Keeps(
            **{stack: models.KeptLayers(**layers) for stack, layers in fields.items()}
        )

    def _chosen(
        self, matching: HiddenStates | Attention, side: int, inner: models.InnerStates
    ) -> Sequence[Float[Array, "..."]]:
        """Returns the state of each pair's layer."""
        stacked = getattr(getattr(inner, matching.stack), _field(matching))
        layers = self._layers(matching, side)
        return [stacked[layers.index(pair[side])] for pair in self._pairs(matching)]

    def _visible(self, matching: Attention, batch: Batch) -> Bool[Array, "B T S"]:
        """Returns which sources a token may see in either of the two models, windows aside."""
        source = "decoder" if matching.of == "decoder" else "encoder"
        visible = masks.same_segment(_segments(batch, matching.stack), _segments(batch, source))
        if matching.of != "decoder":
            return visible
        prefix = None
        if any(config.is_prefix_lm for config in self._configs):
            prefix = batch.get("decoder_causal_attention")
        return visible & masks.causal(visible.shape[1], prefix)


_WEIGHTS = {"decoder": "matching_decoder_weights", "encoder": "matching_encoder_weights"}
"""Features that `weigh` adds, by stack."""


def _field(matching: HiddenStates | Attention) -> str:
    """Returns the name of its states in `models.LayerStates`."""
    if isinstance(matching, HiddenStates):
        return "hidden"
    return "cross_attention" if matching.of == "cross" else "attention"


def _size(matching: HiddenStates | Attention, config: models.ModelConfig) -> int:
    return config.embed_dim if isinstance(matching, HiddenStates) else config.num_heads


def _scaled(weights: Float[Array, "B T"], total: Float[Array, ""]) -> Float[Array, "B T"]:
    """Returns weights that sum up to `total`, or to 0 where all are 0."""
    given = jnp.sum(weights)
    return weights * jnp.where(given > 0, total / jnp.where(given > 0, given, 1.0), 0.0)


def _segments(batch: Batch, side: str) -> Array:
    tokens = "encoder_input_tokens" if side == "encoder" else "decoder_target_tokens"
    return masks.segments(batch[tokens], batch.get(f"{side}_segment_ids"))
