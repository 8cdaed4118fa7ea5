"""What running an opened model takes: its parameters on a mesh."""

from __future__ import annotations

from collections.abc import Callable

from jax.sharding import Mesh

from tlm_jax import models
from tlm_jax.checkpoints.loading import load_params
from tlm_jax.checkpoints.pretrained import Pretrained
from tlm_jax.runs.training.trainable import with_shardings
from tlm_jax.sharding import rules
from tlm_jax.types import Params


def params_on_mesh(
    source: Pretrained,
    config: models.ModelConfig,
    mesh: Mesh,
    announce: Callable[[str], None] = print,
) -> Params:
    """Reads a model's parameters, each device its part.

    Args:
      source: where they are.
      config: the model, with the choices of this run.
      mesh: the devices.
      announce: is given a line for each choice that differs from the source's.

    Raises:
      UserError: as `load_params`.
    """
    shapes, axes = models.abstract_params(config), models.logical_axes(config)
    abstract = with_shardings(shapes, rules.named_shardings(axes, mesh, shapes=shapes))
    return load_params(source, config, abstract, announce=announce)
