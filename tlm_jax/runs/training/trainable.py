"""Trained parameters: a whole model's, or adapters on a frozen base, and projections beside it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
from jax.sharding import Mesh

from tlm_jax import models, trees
from tlm_jax.checkpoints.structure import AUXILIARY
from tlm_jax.models import lora as lora_models
from tlm_jax.runs.training.config import RunConfig
from tlm_jax.sharding import rules
from tlm_jax.types import Params


@dataclass(frozen=True)
class Trainable:
    """The parameters that are trained, and those beside them.

    Attributes:
      init: returns the trained parameters from a key.
      axes: their logical axes.
      frozen: shapes, types and shardings of the frozen base; None where there is none.
      whole: `whole(frozen, trained)` returns the parameters of the model, without what is trained
        beside it (`AUXILIARY`).
    """

    init: Callable[[jax.Array], Params]
    axes: Any
    frozen: Params | None
    whole: Callable[[Any, Params], Params]


def trainable(run: RunConfig, mesh: Mesh) -> Trainable:
    """Returns what a run trains; nothing is allocated.

    Raises:
      UserError: the adapters are meant for projections that the model has not.
    """
    lora = run.lora
    if lora is None:
        return Trainable(
            init=functools.partial(models.init, config=run.model),
            axes=models.logical_axes(run.model),
            frozen=None,
            whole=lambda frozen, trained: trained,
        )
    shapes = jax.eval_shape(
        lambda params: trees.map_named(
            lambda name, array: lora_models.freeze(run.model, lora, name, array), params
        ),
        models.abstract_params(run.model),
    )
    shardings = rules.named_shardings(lora_models.base_axes(run.model, lora), mesh, shapes=shapes)
    return Trainable(
        init=functools.partial(lora_models.init_adapters, config=run.model, lora=lora),
        axes=lora_models.adapter_axes(run.model, lora),
        frozen=with_shardings(shapes, shardings),
        whole=functools.partial(lora_models.attach, lora=lora),
    )


def with_auxiliary(trained: Trainable, init: Callable[[jax.Array], Params], axes: Any) -> Trainable:
    """Returns the same with parameters that the objective reads and the model has not.

    They lie under `AUXILIARY` among the trained parameters: the optimizer updates them, checkpoints
    hold them, and whoever takes the model out of either leaves them behind.

    Args:
      trained: what is trained of the model.
      init: returns them from a key.
      axes: their logical axes.
    """

    def init_all(rng: jax.Array) -> Params:
        # The model's initial values are the same with and without.
        return {**trained.init(rng), AUXILIARY: init(jax.random.fold_in(rng, 0xA11))}

    return Trainable(
        init=init_all,
        axes={**trained.axes, AUXILIARY: axes},
        frozen=trained.frozen,
        whole=lambda frozen, params: trained.whole(frozen, of_model(params)),
    )


def of_model(trained: Params) -> Params:
    """Returns trained parameters without the auxiliary ones."""
    return {name: part for name, part in trained.items() if name != AUXILIARY}


def with_shardings(shapes: Any, shardings: Any) -> Any:
    """Returns the shapes with a sharding each."""
    return jax.tree.map(
        lambda shape, sharding: jax.ShapeDtypeStruct(shape.shape, shape.dtype, sharding=sharding),
        shapes,
        shardings,
    )
