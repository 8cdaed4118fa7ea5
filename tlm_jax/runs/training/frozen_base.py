"""Loads the frozen base of adapters: parameter by parameter, in the bits in which it is kept."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax

from tlm_jax import models, trees
from tlm_jax.checkpoints.base_model import BaseModel, Fingerprint
from tlm_jax.checkpoints.loading import load_params
from tlm_jax.checkpoints.pretrained import Pretrained, open_pretrained
from tlm_jax.models import lora as lora_models
from tlm_jax.runs.training import console
from tlm_jax.runs.training.config import RunConfig
from tlm_jax.runs.training.parts import Parts
from tlm_jax.runs.training.trainable import with_shardings
from tlm_jax.sharding import rules
from tlm_jax.system.program_cache import ProgramCache
from tlm_jax.types import Params


@dataclass(frozen=True)
class FrozenBase:
    """A frozen base on the devices.

    Attributes:
      params: as `Trainable.frozen` describes them.
      identity: what checkpoints of its adapters say of it.
      source: the model it was loaded from; None: it has new parameters from the seed.
    """

    params: Params
    identity: BaseModel
    source: Pretrained | None


def load_base(
    run: RunConfig, parts: Parts, compiled: ProgramCache | None = None
) -> FrozenBase | None:
    """Returns the base of a run's adapters: the initial checkpoint, else new parameters.

    Args:
      run: the configuration.
      parts: of the run.
      compiled: programs that runs in this process share.

    Raises:
      UserError: the initial checkpoint is not there, or of another model.
    """
    lora, abstract_base = run.lora, parts.trainable.frozen
    if lora is None or abstract_base is None:
        return None
    compiled = compiled or ProgramCache()
    fingerprint = Fingerprint()
    places = trees.flatten(abstract_base)

    def convert(name: str, array: jax.Array) -> Any:
        fingerprint.add(name, array)
        frozen = functools.partial(lora_models.freeze, run.model, lora, name)
        shardings = jax.tree.map(lambda leaf: leaf.sharding, places[name])
        key = (lora_models.freeze, run.model, lora, name, parts.mesh)
        return compiled.get(key, lambda: jax.jit(frozen, out_shardings=shardings))(array)

    shapes = models.abstract_params(run.model)
    shardings = rules.named_shardings(models.logical_axes(run.model), parts.mesh, shapes=shapes)
    source = None
    if run.initial_checkpoint_path is None:
        origin = f"new parameters from seed {run.seed}"
        init = functools.partial(models.init, config=run.model)
        make = compiled.get(
            (models.init, run.model, parts.mesh), lambda: jax.jit(init, out_shardings=shardings)
        )
        floats = trees.flatten(make(jax.random.PRNGKey(run.seed)))
        params = trees.unflatten({name: convert(name, floats.pop(name)) for name in sorted(floats)})
    else:
        origin = str(Path(run.initial_checkpoint_path).absolute())
        abstract = with_shardings(shapes, shardings)
        source = open_pretrained(run.initial_checkpoint_path)
        params = load_params(
            source,
            run.model,
            abstract,
            resize_vocabulary=run.resize_vocabulary,
            convert=convert,
            announce=console.say,
        )
    return FrozenBase(params, BaseModel.of(origin, fingerprint.text(), lora), source)
