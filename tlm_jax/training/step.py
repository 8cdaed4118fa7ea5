"""The train step, one for all objectives: micro-batches, one division, one update."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, PyTree

from tlm_jax.losses.reduction import LossOutput, WeightedSum
from tlm_jax.optim.optimizers import updates_applied
from tlm_jax.training.state import TrainState, step_rng
from tlm_jax.types import Batch, Params

Objective = Callable[[Params, Batch, jax.Array | None], LossOutput]
"""`objective(params, batch, dropout_rng)`: a sum and its weight; see `training.objectives`."""


class StepMetrics(NamedTuple):
    """What a step tells the host.

    Attributes:
      sums: the objective's metrics and `loss`, each a sum and a weight over the whole batch.
      scalars: `gradient_norm` (before clipping), `parameter_norm` (after the update),
        `learning_rate` (of this update: a step that is skipped moves no schedule), and `tokens`,
        how many of the batch's tokens are real.
      finite: whether loss and gradient were finite; where not, the update was not applied.
    """

    sums: dict[str, WeightedSum]
    scalars: dict[str, Float[Array, ""]]
    finite: Bool[Array, ""]


TrainStep = Callable[..., tuple[TrainState, StepMetrics]]
"""`train_step(state, batch)`, or `train_step(state, batch, frozen)`."""


def make_train_step(
    objective: Objective,
    optimizer: optax.GradientTransformation,
    learning_rate: optax.Schedule,
    *,
    micro_batches: int = 1,
    whole: Callable[[PyTree, Params], Params] = lambda frozen, trained: trained,
    prepare: Callable[[Batch], Batch] = lambda batch: batch,
) -> TrainStep:
    """Builds the pure train step; the caller jits it with shardings (`jit_train_step`).

    With micro-batches i = 1..M of the batch and an objective that returns (sum_i, weight_i), the
    gradient is grad(Σ_i sum_i) / Σ_i weight_i: the same, up to float addition order, whatever M, if
    the objective draws nothing at random. Dropout does: each micro-batch has masks of its own, so
    that another M is another draw of the same distribution.

    Args:
      objective: the loss to minimise.
      optimizer: applied to the normalised gradient; holds its own schedule.
      learning_rate: the same schedule, for the metrics.
      micro_batches: M; must divide the number of rows. Activations are kept for one at a time.
      whole: where only a part of the parameters is trained, `whole(frozen, trained)` returns those
        that the objective is given. Gradients, optimizer and norms are of the trained part alone.
      prepare: adds to the whole batch what the objective needs to know of it in each micro-batch.

    Returns:
      `step(state, batch, frozen=None) -> (state, StepMetrics)`. A step with a non-finite loss or
      gradient, or whose loss has no weight (no token counts), leaves parameters and optimizer as
      they were and counts as a step.
    """

    def train_step(
        state: TrainState, batch: Batch, frozen: PyTree = None
    ) -> tuple[TrainState, StepMetrics]:
        def of_trained(params: Params, batch: Batch, rng: jax.Array | None) -> LossOutput:
            return objective(whole(frozen, params), batch, rng)

        output, gradient = _accumulate(
            of_trained, state.params, prepare(batch), step_rng(state), micro_batches
        )
        weight = jnp.where(output.loss.weight > 0, output.loss.weight, 1.0)
        gradient = jax.tree.map(lambda g: g / weight, gradient)
        gradient_norm = optax.global_norm(gradient)
        finite = jnp.isfinite(output.loss.total) & jnp.isfinite(gradient_norm)
        # Without a token that counts momentum and weight decay would still move parameters.
        applied = finite & (output.loss.weight > 0)

        updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        params, opt_state = jax.tree.map(
            lambda new, old: jnp.where(applied, new, old),
            (params, opt_state),
            (state.params, state.opt_state),
        )
        new_state = TrainState(state.step + 1, params, opt_state, state.rng)
        count = updates_applied(state.opt_state)
        scalars = {
            "gradient_norm": gradient_norm,
            "parameter_norm": optax.global_norm(params),
            "learning_rate": jnp.asarray(
                learning_rate(state.step if count is None else count), jnp.float32
            ),
            "tokens": _real_tokens(batch),
        }
        sums = {"loss": output.loss, **output.metrics}
        return new_state, StepMetrics(sums, scalars, finite)

    return train_step


def jit_train_step(
    train_step: TrainStep, state_shardings: PyTree, replicated: jax.sharding.Sharding
) -> Any:
    """Jits a train step: the state is donated and keeps its shardings, metrics are replicated."""
    return jax.jit(train_step, out_shardings=(state_shardings, replicated), donate_argnums=0)


def _real_tokens(batch: Batch) -> Float[Array, ""]:
    """Counts the tokens of a batch that are not padding, inputs and targets."""
    total = jnp.zeros((), jnp.float32)
    for side, tokens in (("encoder", "encoder_input_tokens"), ("decoder", "decoder_target_tokens")):
        real = batch.get(f"{side}_segment_ids", batch.get(tokens))
        if real is not None:
            total += jnp.sum(real > 0, dtype=jnp.float32)
    return total


def _accumulate(
    objective: Objective, params: Params, batch: Batch, rng: jax.Array, micro_batches: int
) -> tuple[LossOutput, PyTree]:
    """Returns the objective's sums and the gradient of its total, over all micro-batches."""

    def total(params: Params, batch: Batch, rng: jax.Array) -> tuple[jax.Array, LossOutput]:
        output = objective(params, batch, rng)
        return output.loss.total, output

    gradient_of = jax.grad(total, has_aux=True)
    if micro_batches == 1:
        gradient, output = gradient_of(params, batch, rng)
        return output, gradient

    def leaves_of(params: Params, batch: Batch, rng: jax.Array) -> list[jax.Array]:
        leaves, structure.value = jax.tree.flatten(gradient_of(params, batch, rng))
        return leaves

    def body(
        sums: list[jax.Array], inputs: tuple[jax.Array, Batch]
    ) -> tuple[list[jax.Array], None]:
        index, micro = inputs
        leaves = leaves_of(params, micro, jax.random.fold_in(rng, index))
        return [a + b for a, b in zip(sums, leaves, strict=True)], None

    structure = _Structure()
    split = {name: _split_rows(value, micro_batches) for name, value in batch.items()}
    first = {name: value[0] for name, value in split.items()}
    zeros = [jnp.zeros(s.shape, s.dtype) for s in jax.eval_shape(leaves_of, params, first, rng)]
    sums, _ = jax.lax.scan(body, zeros, (jnp.arange(micro_batches), split))
    gradient, output = jax.tree.unflatten(structure.value, sums)
    return output, gradient


class _Structure:
    """Carries a tree structure out of a traced function."""

    value: Any = None


def _split_rows(array: Array, parts: int) -> Array:
    """[B, ...] -> [parts, B/parts, ...] with row i in part i % parts.

    Interleaved, so that each device of the batch axes keeps its own rows in every part.
    """
    rows, *rest = array.shape
    return jnp.swapaxes(array.reshape(rows // parts, parts, *rest), 0, 1)
