"""Matches a student's hidden states and attention to a teacher's through learned projections."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Num, Shaped

from tlm_jax.errors import UserError, nearest
from tlm_jax.losses.reduction import LossOutput, WeightedSum
from tlm_jax.sharding.rules import LogicalAxes

MEASURES = ("mse", "cosine")

Projections = dict[str, Array]
"""A kernel for each pair of layers, by `Matching.names`; trained with the student, then dropped."""


@dataclass(frozen=True)
class Matching:
    """Which layers are matched, and how; see `HiddenStates` and `Attention`.

    Attributes:
      layers: pairs (student's layer, teacher's layer), counted from 0; negative from the end.
      measure: "mse", the mean squared difference, or "cosine", 1 minus the cosine.
      weight: what the mean difference is multiplied by in a loss.
    """

    layers: Sequence[Sequence[int]] = ((-1, -1),)
    measure: str = "mse"
    weight: float = 1.0

    def __post_init__(self):
        """Checks names and ranges, so that a run stops before it starts."""
        kind = type(self).__name__
        if not isinstance(self.layers, Sequence) or not self.layers:
            raise UserError(
                f"{kind}.layers is {self.layers!r}: give pairs (student layer, teacher layer)"
            )
        for pair in self.layers:
            pair_of_numbers = isinstance(pair, Sequence) and all(isinstance(n, int) for n in pair)
            if not pair_of_numbers or len(pair) != 2:
                raise UserError(
                    f"{kind}.layers has {pair!r}: expected a pair (student layer, teacher layer)"
                )
        # Gin and the command line write lists as readily as tuples.
        object.__setattr__(self, "layers", tuple((own, its) for own, its in self.layers))
        if len(set(self.layers)) < len(self.layers):
            raise UserError(f"{kind}.layers has a pair twice: {self.layers}")
        _require_name(f"{kind}.measure", self.measure, MEASURES)
        if not isinstance(self.weight, int | float) or not self.weight > 0:
            raise UserError(f"{kind}.weight is {self.weight!r}: expected a number above 0")

    @property
    def names(self) -> tuple[str, ...]:
        """The pairs' names among the projections."""
        return tuple(f"{student}_to_{teacher}" for student, teacher in self.layers)

    def pairs(self, of_student: int, of_teacher: int) -> tuple[tuple[int, int], ...]:
        """Returns the pairs with all layers counted from 0.

        Args:
          of_student: how many layers the student has.
          of_teacher: and the teacher.

        Raises:
          UserError: a layer is not there.
        """

        def counted(layer: int, number: int, whose: str) -> int:
            if not -number <= layer < number:
                raise UserError(
                    f"{type(self).__name__}.layers names layer {layer} of the {whose}, which has "
                    f"{number}: give a number from {-number} to {number - 1}"
                )
            return layer % number

        return tuple(
            (counted(own, of_student, "student"), counted(its, of_teacher, "teacher"))
            for own, its in self.layers
        )


@dataclass(frozen=True)
class HiddenStates(Matching):
    """Matches what layers hand to the next ones.

    Attributes:
      stack: "decoder", which a decoder-only model is, or "encoder".
    """

    stack: str = "decoder"

    def __post_init__(self):
        super().__post_init__()
        _require_name("HiddenStates.stack", self.stack, ("decoder", "encoder"))

    @property
    def name(self) -> str:
        """What it is called among metrics and projections."""
        return f"{self.stack}_hidden_states"


@dataclass(frozen=True)
class Attention(Matching):
    """Matches attention probabilities.

    Attributes:
      of: "decoder", the self-attention of the decoder or of a decoder-only model; "encoder"; or
        "cross", the decoder's to the encoder's outputs.
    """

    of: str = "decoder"

    def __post_init__(self):
        super().__post_init__()
        _require_name("Attention.of", self.of, ("decoder", "encoder", "cross"))

    @property
    def name(self) -> str:
        """As of `HiddenStates`."""
        return f"{self.of}_attention"

    @property
    def stack(self) -> str:
        """Whose layers attend."""
        return "encoder" if self.of == "encoder" else "decoder"


def init_projections(
    rng: Array, matching: Matching, *, student_size: int, teacher_size: int
) -> Projections:
    """Returns a kernel [student_size, teacher_size] for each pair.

    Of hidden states, normal with variance 1 / student_size. Of attention, 1 / student_size
    everywhere: each of the teacher's heads is first compared with the mean of the student's, which
    is a distribution as they are; signs drawn at random would have to be unlearned.

    Args:
      rng: a key.
      matching: the pairs.
      student_size: D of hidden states, or N heads of attention.
      teacher_size: the teacher's.
    """
    shape = (student_size, teacher_size)
    if isinstance(matching, Attention):
        return {name: jnp.full(shape, 1.0 / student_size) for name in matching.names}
    keys = jax.random.split(rng, len(matching.layers))
    scale = student_size**-0.5
    return {name: scale * jax.random.normal(key, shape) for name, key in zip(matching.names, keys)}


def projection_axes(matching: Matching) -> dict[str, LogicalAxes]:
    """Returns the logical axes of the kernels: whole on every device, for they are small."""
    return dict.fromkeys(matching.names, (None, None))


def match_hidden_states(
    projections: Projections,
    student: Sequence[Float[Array, "B T D"]],
    teacher: Sequence[Float[Array, "B T E"]],
    weights: Num[Array, "B T"],
    matching: HiddenStates,
) -> LossOutput:
    """Returns the weighted sum over tokens of the mean over pairs of their difference.

    For one token, student state x, teacher state y and kernel A: mean_e (x A - y)_e^2, or
    1 - cos(x A, y). Gradients flow to student and projections; everything is float32.

    Args:
      projections: of `init_projections`, from D to E.
      student: for each pair, the hidden states of the student's layer.
      teacher: for each pair, those of the teacher's layer; constants.
      weights: 0 leaves a token out.
      matching: the pairs and the measure.
    """
    differences = []
    for name, own, its in zip(matching.names, student, teacher, strict=True):
        its = jax.lax.stop_gradient(its).astype(jnp.float32)
        projected = jnp.einsum(
            "btd,de->bte", own, projections[name], preferred_element_type=jnp.float32
        )
        differences.append(_difference(matching.measure, projected, its, its.shape[-1]))
    return _weighted(differences, weights, f"{matching.name}_difference")


def match_attention(
    projections: Projections,
    student: Sequence[Float[Array, "B N T S"]],
    teacher: Sequence[Float[Array, "B P T S"]],
    weights: Num[Array, "B T"],
    visible: Shaped[Array, "B #T S"],
    matching: Attention,
) -> LossOutput:
    """Returns the same for attention; the kernels mix the student's N heads into the teacher's P.

    For one token and one teacher head: the mean over the visible sources of the squared difference,
    or 1 minus the cosine over them; then the mean over the heads.

    Args:
      projections: of `init_projections`, from N to P.
      student: for each pair, the attention of the student's layer.
      teacher: for each pair, that of the teacher's layer; constants.
      weights: 0 leaves a token out.
      visible: which sources a token may see: those of its own segment, so that a packed row gives
        what its examples give apart; 0 or False leaves a source out.
      matching: the pairs and the measure.
    """
    real = (visible != 0).astype(jnp.float32)[:, None]
    sources = jnp.maximum(jnp.sum(real, axis=-1), 1.0)
    differences = []
    for name, own, its in zip(matching.names, student, teacher, strict=True):
        its = jax.lax.stop_gradient(its).astype(jnp.float32) * real
        mixed = jnp.einsum(
            "bnts,np->bpts", own, projections[name], preferred_element_type=jnp.float32
        )
        heads = _difference(matching.measure, mixed * real, its, sources)
        differences.append(jnp.mean(heads, axis=1))
    return _weighted(differences, weights, f"{matching.name}_difference")


def _difference(measure: str, projected: Array, teacher_states: Array, size: Array | int) -> Array:
    if measure == "mse":
        return jnp.sum(jnp.square(projected - teacher_states), axis=-1) / size
    return 1.0 - jnp.sum(_unit(projected) * _unit(teacher_states), axis=-1)


def _unit(x: Array) -> Array:
    """Returns vectors of length 1; a zero vector, as padding has, stays one and has a gradient."""
    square = jnp.sum(jnp.square(x), axis=-1, keepdims=True)
    return x / jnp.sqrt(jnp.where(square > jnp.finfo(jnp.float32).tiny, square, 1.0))


def _weighted(differences: list[Array], weights: Array, metric: str) -> LossOutput:
    """Returns the weighted sum over tokens of the mean over pairs."""
    weights = jax.lax.stop_gradient(weights).astype(jnp.float32)
    mean = sum(differences) / len(differences)
    total = jnp.sum(jnp.where(weights != 0, weights * mean, 0.0))
    summed = WeightedSum(total, jnp.sum(weights))
    return LossOutput(summed, jax.lax.stop_gradient({metric: summed}))


def _require_name(what: str, name: str, known: tuple[str, ...]) -> None:
    if name not in known:
        raise UserError(f"unknown {what} {name!r}.{nearest(name, known)} Known: {', '.join(known)}")
