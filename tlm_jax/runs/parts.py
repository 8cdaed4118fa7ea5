"""Builds the parts of a run that need no data: mesh, optimizer, state layout, the jitted step."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from tlm_jax import models
from tlm_jax.data import converters
from tlm_jax.data.ragged import Ragged, TokenizedExamples
from tlm_jax.optim import optimizers
from tlm_jax.runs.config import RunConfig
from tlm_jax.runs.trainable import Trainable, trainable, with_shardings
from tlm_jax.sharding import mesh as meshes
from tlm_jax.sharding import rules
from tlm_jax.training import objectives
from tlm_jax.training.batches import check_batch_size
from tlm_jax.training.state import TrainState, initial_state
from tlm_jax.training.step import jit_train_step, make_train_step
from tlm_jax.types import Batch


@dataclass(frozen=True)
class Parts:
    """What a run trains with, on one mesh.

    Attributes:
      mesh: data × fsdp × tensor.
      optimizer: with its schedule and clipping.
      abstract_state: shapes, types and shardings of the train state.
      batch_sharding: of every batch feature, `[B, ...]`.
      train_step: jitted; donates the state. Takes the frozen base too, where there is one.
      trainable: what of the model is trained.
    """

    mesh: Mesh
    optimizer: optax.GradientTransformation
    abstract_state: TrainState
    batch_sharding: NamedSharding
    train_step: Any
    trainable: Trainable


def build_parts(run: RunConfig, devices: Sequence[jax.Device] | None = None) -> Parts:
    """Builds the parts; nothing is allocated or compiled yet.

    Args:
      run: the configuration.
      devices: all devices by default; may be those of an ahead-of-time compilation target.

    Raises:
      UserError: the mesh does not fit the devices, or the batch does not fit the mesh.
    """
    mesh = meshes.make_mesh(run.mesh, devices)
    check_batch_size(run.batch_size, rules.batch_divisor(mesh), run.micro_batches)
    trained = trainable(run, mesh)
    optimizer = optimizers.make_optimizer(run.optimizer, trained.axes)
    shapes = jax.eval_shape(lambda: initial_state(trained.init, optimizer, run.seed))
    slots = optimizers.state_logical_axes(run.optimizer, shapes.params, trained.axes)
    state_axes = TrainState._make([(), trained.axes, slots, (None,)])
    shardings = rules.named_shardings(state_axes, mesh, shapes=shapes)
    step = make_train_step(
        objectives.cross_entropy(run.model, run.loss, batch_rows=run.batch_size),
        optimizer,
        run.optimizer.learning_rate,
        micro_batches=run.micro_batches,
        whole=trained.whole,
    )

    @functools.wraps(step)
    def sharded_step(state: TrainState, batch: Batch, frozen: Any = None) -> Any:
        with rules.use_rules(mesh):
            return step(state, batch, frozen)

    return Parts(
        mesh=mesh,
        optimizer=optimizer,
        abstract_state=with_shardings(shapes, shardings),
        batch_sharding=rules.batch_sharding(mesh),
        train_step=jit_train_step(sharded_step, shardings, NamedSharding(mesh, PartitionSpec())),
        trainable=trained,
    )


def create_state(run: RunConfig, parts: Parts) -> TrainState:
    """Returns the state before the first step, each array made where it will live."""
    shardings = jax.tree.map(lambda leaf: leaf.sharding, parts.abstract_state)
    make = jax.jit(
        lambda: initial_state(parts.trainable.init, parts.optimizer, run.seed),
        out_shardings=shardings,
    )
    return make()


def abstract_batch(run: RunConfig, sharding: NamedSharding) -> dict[str, jax.ShapeDtypeStruct]:
    """Returns shapes, types and sharding of the features of one global batch."""
    return {
        name: jax.ShapeDtypeStruct(
            (run.batch_size, *value.shape[1:]), value.dtype, sharding=sharding
        )
        for name, value in _padding_row(run).items()
    }


def architecture(model: models.ModelConfig) -> str:
    """Returns the name by which the data pipeline knows the model's kind of batch."""
    if isinstance(model, models.EncoderDecoderConfig):
        return "encoder_decoder"
    return "decoder_only"


def _padding_row(run: RunConfig) -> Mapping[str, np.ndarray]:
    """Returns a batch of one row of padding, made as real ones are."""
    converter = converters.make_converter(
        architecture(run.model), feature_lengths=dict(run.feature_lengths)
    )
    none = Ragged(np.zeros(0, np.int32), np.zeros(0, np.int64))
    examples = TokenizedExamples(dict.fromkeys(run.feature_lengths, none), (), ())
    return converter.convert(
        converter.prepare(examples), np.zeros(0, np.int64), 1, packed=run.data.pack
    )
