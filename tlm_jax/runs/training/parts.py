"""Builds the parts of a run that need no data: mesh, optimizer, state layout, the jitted step."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from tlm_jax.checkpoints.structure import AUXILIARY
from tlm_jax.data.pipeline import converters
from tlm_jax.optim import optimizers
from tlm_jax.ragged import Ragged, TokenizedExamples
from tlm_jax.runs.training.config import RunConfig
from tlm_jax.runs.training.run_teacher import RunTeacher
from tlm_jax.runs.training.teacher import inner_matching, open_teacher
from tlm_jax.runs.training.trainable import Trainable, trainable, with_auxiliary, with_shardings
from tlm_jax.sharding import mesh as meshes
from tlm_jax.sharding import rules
from tlm_jax.system.program_cache import ProgramCache
from tlm_jax.training import distillation
from tlm_jax.training.batches import check_batch_size
from tlm_jax.training.matching import InnerMatching
from tlm_jax.training.objectives import ObjectiveContext
from tlm_jax.training.state import TrainState, initial_state
from tlm_jax.training.step import jit_train_step, make_train_step
from tlm_jax.types import Batch, Params


@dataclass(frozen=True)
class Parts:
    """What a run trains with, on one mesh.

    Attributes:
      mesh: data × fsdp × tensor.
      optimizer: with its schedule and clipping.
      abstract_state: shapes, types and shardings of the train state.
      batch_sharding: of every batch feature, `[B, ...]`.
      train_step: jitted; donates the state. Takes a third argument where `abstract_frozen` says so.
      initial_state: `initial_state(seed)` returns the state before the first step, each array made
        where it will live; jitted.
      trainable: what of the model is trained.
      teacher: of a distilled student.
      matching: of its inner states with the teacher's, if there is any.
    """

    mesh: Mesh
    optimizer: optax.GradientTransformation
    abstract_state: TrainState
    batch_sharding: NamedSharding
    train_step: Any
    initial_state: Callable[[int], TrainState]
    trainable: Trainable
    teacher: RunTeacher | None = None
    matching: InnerMatching | None = None

    def abstract_frozen(self) -> Any:
        """Returns what the step takes beside state and batch: see `FrozenParams`; None: nothing."""
        if self.teacher is None:
            return self.trainable.frozen
        return FrozenParams(self.trainable.frozen, self.teacher.abstract(self.mesh))


class FrozenParams(NamedTuple):
    """What a distilling step takes beside state and batch.

    Attributes:
      base: the frozen base of adapters, or None.
      teacher: the teacher's arrays, or None.
    """

    base: Any
    teacher: Any


def build_parts(
    run: RunConfig,
    devices: Sequence[jax.Device] | None = None,
    compiled: ProgramCache | None = None,
) -> Parts:
    """Builds the parts; nothing is allocated or compiled yet.

    Args:
      run: the configuration.
      devices: all devices by default; may be those of an ahead-of-time compilation target.
      compiled: the parts of earlier runs in this process; one that trains in the same way takes
        them over. A teacher belongs to its run, so with one they are always new.

    Raises:
      UserError: the mesh does not fit the devices, or the batch does not fit the mesh.
    """
    if compiled is None or run.teacher is not None:
        return _build(run, devices)
    decides = (run.model, run.optimizer, run.loss, run.lora, run.mesh)
    sizes = (run.batch_size, run.micro_batches, devices)
    return compiled.get((Parts, *decides, *sizes), lambda: _build(run, devices))


def _build(run: RunConfig, devices: Sequence[jax.Device] | None) -> Parts:
    mesh = meshes.make_mesh(run.mesh, devices)
    check_batch_size(run.batch_size, rules.batch_divisor(mesh), run.micro_batches)
    teacher = open_teacher(run)
    matching = inner_matching(run, teacher)
    trained = trainable(run, mesh)
    if matching is not None:
        trained = with_auxiliary(trained, matching.init, matching.axes())
    optimizer = optimizers.make_optimizer(run.optimizer, trained.axes)
    shapes = jax.eval_shape(lambda: initial_state(trained.init, optimizer, run.seed))
    slots = optimizers.state_logical_axes(run.optimizer, shapes.params, trained.axes)
    state_axes = TrainState._make([(), trained.axes, slots, (None,)])
    shardings = rules.named_shardings(state_axes, mesh, shapes=shapes)
    step = make_train_step(
        optimizer=optimizer,
        learning_rate=run.optimizer.learning_rate,
        micro_batches=run.micro_batches,
        **_objective(run, trained, teacher, matching),
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
        initial_state=jax.jit(
            lambda seed: initial_state(trained.init, optimizer, seed),
            static_argnums=0,
            out_shardings=shardings,
        ),
        trainable=trained,
        teacher=teacher,
        matching=matching,
    )


def _objective(
    run: RunConfig,
    trained: Trainable,
    teacher: RunTeacher | None,
    matching: InnerMatching | None,
) -> dict[str, Any]:
    """Returns the arguments of the step that depend on what is learned from."""
    context = ObjectiveContext(
        run.model,
        run.batch_size,
        live=teacher.live if teacher is not None else None,
        matching=matching,
    )
    arguments: dict[str, Any] = {"objective": run.loss.objective(context), "whole": trained.whole}
    if teacher is not None:

        def whole(frozen: FrozenParams, params: Params) -> distillation.StudentAndTeacher:
            student = trained.whole(frozen.base, params)
            return distillation.StudentAndTeacher(student, frozen.teacher, params.get(AUXILIARY))

        arguments["whole"] = whole
    if matching is not None:
        normalization = run.loss.normalization
        arguments["prepare"] = functools.partial(matching.weigh, normalization=normalization)
    return arguments


def abstract_batch(
    run: RunConfig, sharding: NamedSharding, teacher: RunTeacher | None = None
) -> dict[str, jax.ShapeDtypeStruct]:
    """Returns shapes, types and sharding of the features of one global batch."""
    return {
        name: jax.ShapeDtypeStruct(
            (run.batch_size, *value.shape[1:]), value.dtype, sharding=sharding
        )
        for name, value in _padding_row(run, teacher).items()
    }


def _padding_row(run: RunConfig, teacher: RunTeacher | None) -> Mapping[str, np.ndarray]:
    """Returns a batch of one row of padding, made as real ones are."""
    aligned = teacher.features() if teacher is not None else {}
    converter = converters.make_converter(
        run.model.architecture,
        feature_lengths=dict(run.feature_lengths),
        aligned=dict.fromkeys(aligned, 0.0),
        mark_padding=run.on_policy is not None,
    )
    lengths, rows = np.zeros(0, np.int64), np.zeros(0, np.int64)
    none = Ragged(np.zeros(0, np.int32), lengths)
    features = dict.fromkeys(run.feature_lengths, none)
    features |= {name: Ragged(values, lengths) for name, values in aligned.items()}
    prepared = converter.prepare(TokenizedExamples(features, (), ()))
    batch = converter.convert(prepared, rows, 1, packed=run.data.pack)
    if teacher is not None and teacher.tokens is not None:
        batch |= teacher.tokens.features(prepared, rows, 1)
    return batch
