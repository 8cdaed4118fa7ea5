"""Matches a student's hidden states and attention to a teacher's through learned projections."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Num

from tlm_jax.errors import UserError, nearest
from tlm_jax.losses.reduction import LossOutput, WeightedSum
from tlm_jax.sharding.rules import LogicalAxes

MEASURES = ("mse", "cosine")

Projections = dict[str, Array]
"""A kernel for each pair of layers, by `Matching.names`; trained with the student, then dropped."""


@dataclass(frozen=True)
class Matching:
    """Which layers are matched, and how.

    Attributes:
      layers: pairs (student's layer, teacher's layer), counted from 0; negative from the end.
      measure: "mse", the mean squared difference, or "cosine", 1 minus the cosine.
    """

    layers: tuple[tuple[int, int], ...]
    measure: str = "mse"

    def __post_init__(self):
        """Checks the names, so that a run stops before it starts."""
        if not self.layers:
            raise UserError("matching names no layers: give pairs (student layer, teacher layer)")
        if self.measure not in MEASURES:
            raise UserError(
                f"unknown measure {self.measure!r} of matching."
                f"{nearest(self.measure, MEASURES)} Known: {', '.join(MEASURES)}"
            )

    @property
    def names(self) -> tuple[str, ...]:
        """The pairs' names among the projections."""
        return tuple(f"{student}_to_{teacher}" for student, teacher in self.layers)


def init_projections(
    rng: Array, matching: Matching, *, student_size: int, teacher_size: int
) -> Projections:
    """Returns a kernel [student_size, teacher_size] for each pair, variance 1 / student_size.

    Args:
      rng: a key.
      matching: the pairs.
      student_size: D of hidden states, or N heads of attention.
      teacher_size: the teacher's.
    """
    keys = jax.random.split(rng, len(matching.layers))
    scale = student_size**-0.5
    return {
        name: scale * jax.random.normal(key, (student_size, teacher_size))
        for name, key in zip(matching.names, keys)
    }


def projection_axes(matching: Matching) -> dict[str, LogicalAxes]:
    """Returns the logical axes of the kernels: whole on every device, for they are small."""
    return dict.fromkeys(matching.names, (None, None))


def match_hidden_states(
    projections: Projections,
    student: Float[Array, "L B T D"],
    teacher: Float[Array, "M B T E"],
    weights: Num[Array, "B T"],
    matching: Matching,
) -> LossOutput:
    """Returns the weighted sum over tokens of the mean over pairs of their difference.

    For one token, student state x, teacher state y and kernel A: mean_e (x A - y)_e^2, or
    1 - cos(x A, y). Gradients flow to student and projections; everything is float32.

    Args:
      projections: of `init_projections`, from D to E.
      student: hidden states of its L layers.
      teacher: hidden states of its M layers; constants.
      weights: 0 leaves a token out.
      matching: the pairs and the measure.
    """
    _require_layers(matching, student.shape[0], teacher.shape[0])
    teacher = jax.lax.stop_gradient(teacher).astype(jnp.float32)
    apart = []
    for name, (own, its) in zip(matching.names, matching.layers):
        projected = jnp.einsum(
            "btd,de->bte", student[own], projections[name], preferred_element_type=jnp.float32
        )
        apart.append(_difference(matching.measure, projected, teacher[its], teacher.shape[-1]))
    return _weighted(apart, weights, "hidden_state_match")


def match_attention(
    projections: Projections,
    student: Float[Array, "L B N T S"],
    teacher: Float[Array, "M B P T S"],
    weights: Num[Array, "B T"],
    source_weights: Num[Array, "B S"],
    matching: Matching,
) -> LossOutput:
    """Returns the same for attention; the kernels mix the student's N heads into the teacher's P.

    For one token and one teacher head: the mean over the sources of the squared difference, or 1
    minus the cosine over them; then the mean over the heads.

    Args:
      projections: of `init_projections`, from N to P.
      student: attention of its L layers.
      teacher: attention of its M layers; constants.
      weights: 0 leaves a token out.
      source_weights: 0 leaves a source out (padding).
      matching: the pairs and the measure.
    """
    _require_layers(matching, student.shape[0], teacher.shape[0])
    real = (source_weights != 0).astype(jnp.float32)[:, None, None]
    teacher = jax.lax.stop_gradient(teacher).astype(jnp.float32) * real[None]
    apart = []
    for name, (own, its) in zip(matching.names, matching.layers):
        mixed = jnp.einsum(
            "bnts,np->bpts", student[own], projections[name], preferred_element_type=jnp.float32
        )
        sources = jnp.maximum(jnp.sum(real, axis=-1), 1.0)
        apart.append(
            jnp.mean(_difference(matching.measure, mixed * real, teacher[its], sources), axis=1)
        )
    return _weighted(apart, weights, "attention_match")


def _difference(measure: str, ours: Array, theirs: Array, size: Array | int) -> Array:
    if measure == "mse":
        return jnp.sum(jnp.square(ours - theirs), axis=-1) / size
    # The square root of the smallest normal number keeps the gradient of a zero vector finite.
    squares = [jnp.sum(jnp.square(x), axis=-1) for x in (ours, theirs)]
    norms = [jnp.sqrt(jnp.maximum(x, jnp.finfo(jnp.float32).tiny)) for x in squares]
    return 1.0 - jnp.sum(ours * theirs, axis=-1) / (norms[0] * norms[1])


def _weighted(apart: list[Array], weights: Array, metric: str) -> LossOutput:
    """Returns the weighted sum over tokens of the mean over pairs."""
    weights = jax.lax.stop_gradient(weights).astype(jnp.float32)
    mean = sum(apart) / len(apart)
    total = jnp.sum(jnp.where(weights != 0, weights * mean, 0.0))
    summed = WeightedSum(total, jnp.sum(weights))
    return LossOutput(summed, jax.lax.stop_gradient({metric: summed}))


def _require_layers(matching: Matching, of_student: int, of_teacher: int) -> None:
    for pair in matching.layers:
        for layer, number, whose in zip(pair, (of_student, of_teacher), ("student", "teacher")):
            if not -number <= layer < number:
                raise UserError(
                    f"matching names layer {layer} of the {whose}, which has {number}: give a "
                    f"number from {-number} to {number - 1}"
                )
