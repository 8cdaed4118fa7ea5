"""Optimizers as configurations that build optax transformations for parameters with named axes."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import jax
import optax

from tlm_jax import trees
from tlm_jax.errors import UserError
from tlm_jax.models.factoring import FACTOR_RULES, FactorRules, factored_dims, matrix_dims
from tlm_jax.optim.adafactor import AdafactorState, adafactor, slot_axes
from tlm_jax.optim.schedules import Schedule
from tlm_jax.types import Params

NO_DECAY = (r"(^|/)scale$", r"(^|/)bias$", r"(^|/)rel_embedding$")
"""Parameters that weight decay leaves alone by default: norms, biases, position biases."""


@dataclasses.dataclass(frozen=True)
class Adafactor:
    """Adafactor with T5X's semantics; see `adafactor.adafactor` for the formulas.

    Attributes:
      learning_rate: relative to each parameter's rms, unless `multiply_by_parameter_scale` is off.
      clip_global_norm: gradients are scaled down to this global norm first; None leaves them.
      weight_decay: this share of a parameter is taken off it at every step.
      weight_decay_lr_exponent: multiplies the decay by the learning rate to this power; with 0 it
        does not follow the schedule (T5X's default), with 1 it is AdamW's.
      no_decay: regular expressions; parameters in whose '/'-joined name one is found do not decay.
      decay_rate: of the second moment's memory.
      step_offset: the step at which fine-tuning began.
      multiply_by_parameter_scale: whether steps are proportional to the parameter's rms.
      clipping_threshold: largest rms of a parameter's update before scaling.
      beta1: decay of a running mean of the updates; None keeps none and saves its memory.
      min_dim_size_to_factor: unstacked matrices with a smaller side are not factored.
      factor_rules: what each logical axis is to a matrix.
    """

    learning_rate: Schedule
    clip_global_norm: float | None = None
    weight_decay: float = 0.0
    weight_decay_lr_exponent: float = 0.0
    no_decay: tuple[str, ...] = NO_DECAY
    decay_rate: float = 0.8
    step_offset: int = 0
    multiply_by_parameter_scale: bool = True
    clipping_threshold: float | None = 1.0
    beta1: float | None = None
    min_dim_size_to_factor: int = 128
    factor_rules: FactorRules = dataclasses.field(default_factory=lambda: FACTOR_RULES)

    def build(self, logical_axes: Any) -> optax.GradientTransformation:
        core = adafactor(
            self.learning_rate,
            logical_axes,
            decay_rate=self.decay_rate,
            step_offset=self.step_offset,
            multiply_by_parameter_scale=self.multiply_by_parameter_scale,
            clipping_threshold=self.clipping_threshold,
            beta1=self.beta1,
            min_dim_size_to_factor=self.min_dim_size_to_factor,
            rules=self.factor_rules,
        )
        return optax.chain(core, _decay(self, self.weight_decay_lr_exponent))


@dataclasses.dataclass(frozen=True)
class AdamW:
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019).

    `parameter -= learning_rate * (m / (sqrt(v) + epsilon) + weight_decay * parameter)` with the
    bias-corrected moments m and v. Attributes of the same name as `Adafactor`'s mean the same.
    """

    learning_rate: Schedule
    clip_global_norm: float | None = 1.0
    weight_decay: float = 0.01
    no_decay: tuple[str, ...] = NO_DECAY
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8

    def build(self, logical_axes: Any) -> optax.GradientTransformation:
        del logical_axes
        return optax.adamw(
            self.learning_rate,
            self.beta1,
            self.beta2,
            self.epsilon,
            weight_decay=self.weight_decay,
            mask=decay_mask(self.no_decay),
        )


@dataclasses.dataclass(frozen=True)
class Adam:
    """Adam (Kingma & Ba 2015), without weight decay."""

    learning_rate: Schedule
    clip_global_norm: float | None = 1.0
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8

    def build(self, logical_axes: Any) -> optax.GradientTransformation:
        del logical_axes
        return optax.adam(self.learning_rate, self.beta1, self.beta2, self.epsilon)


@dataclasses.dataclass(frozen=True)
class Lion:
    """Lion (Chen et al. 2023): the sign of a momentum; about a tenth of AdamW's learning rate."""

    learning_rate: Schedule
    clip_global_norm: float | None = 1.0
    weight_decay: float = 0.1
    no_decay: tuple[str, ...] = NO_DECAY
    beta1: float = 0.9
    beta2: float = 0.99

    def build(self, logical_axes: Any) -> optax.GradientTransformation:
        del logical_axes
        return optax.lion(
            self.learning_rate,
            self.beta1,
            self.beta2,
            weight_decay=self.weight_decay,
            mask=decay_mask(self.no_decay),
        )


@dataclasses.dataclass(frozen=True)
class Muon:
    """Muon (Jordan 2024) for the matrices inside the stacks, AdamW for everything else.

    Embedding and output tables, position biases and norms are everything else. The matrix of a
    projection joins heads and head width; stacked layers are orthogonalised one by one.

    Attributes:
      momentum: decay of the running mean that is orthogonalised.
      consistent_rms: scales updates to this rms, so that AdamW's learning rate and weight decay
        fit both parts (Liu et al. 2025); None scales by max(1, rows / columns) ** 0.5 instead.
      beta1: AdamW's.
      beta2: AdamW's.
      factor_rules: what each logical axis is to a matrix.
    """

    learning_rate: Schedule
    clip_global_norm: float | None = 1.0
    weight_decay: float = 0.01
    no_decay: tuple[str, ...] = NO_DECAY
    momentum: float = 0.95
    consistent_rms: float | None = 0.2
    beta1: float = 0.9
    beta2: float = 0.999
    factor_rules: FactorRules = dataclasses.field(default_factory=lambda: FACTOR_RULES)

    def build(self, logical_axes: Any) -> optax.GradientTransformation:
        from optax import contrib

        def matrix(name: str, axes: tuple[str | None, ...]):
            rows, columns, _ = matrix_dims(name, axes, self.factor_rules)
            if not rows or not {"vocab", "positions"}.isdisjoint(axes):
                return None
            inputs, outputs = sorted((rows, columns))  # a kernel's input dimensions come first
            return contrib.MuonDimensionNumbers(inputs, outputs)

        # optax masks the decay of Muon's part only, so the decay of both is added here.
        core = contrib.muon(
            self.learning_rate,
            beta=self.momentum,
            adam_b1=self.beta1,
            adam_b2=self.beta2,
            muon_weight_dimension_numbers=trees.map_named(matrix, logical_axes),
            consistent_rms=self.consistent_rms,
        )
        return optax.chain(core, _decay(self, 1.0))


OptimizerConfig = Adafactor | AdamW | Adam | Lion | Muon


def make_optimizer(config: OptimizerConfig, logical_axes: Any) -> optax.GradientTransformation:
    """Returns the optimizer for parameters with these logical axes, clipping included.

    Its `update` needs the parameters and gives what is to be added to them, learning rate and
    sign included.
    """
    core = config.build(logical_axes)
    if config.clip_global_norm is None:
        return core
    return optax.chain(optax.clip_by_global_norm(config.clip_global_norm), core)


def decay_mask(no_decay: tuple[str, ...]):
    """Returns a function from parameters to a tree of whether each decays.

    Raises:
      UserError: a pattern is no regular expression.
    """
    patterns = []
    for pattern in no_decay:
        try:
            patterns.append(re.compile(pattern))
        except re.error as error:
            raise UserError(
                f"no_decay pattern {pattern!r} is no regular expression: {error}"
            ) from None

    def mask(params: Params) -> Any:
        return trees.map_named(lambda name, _: not any(p.search(name) for p in patterns), params)

    return mask


def state_logical_axes(config: OptimizerConfig, abstract_params: Params, logical_axes: Any) -> Any:
    """Returns the optimizer state's tree with a tuple of logical axes for leaves.

    Args:
      config: as given to `make_optimizer`.
      abstract_params: arrays or `ShapeDtypeStruct`s; nothing is allocated.
      logical_axes: the parameters' axes.
    """
    axes_of = trees.flatten(logical_axes)
    shapes = trees.flatten(abstract_params)
    state = jax.eval_shape(make_optimizer(config, logical_axes).init, abstract_params)

    def of_adafactor(path: str, _: Any) -> tuple[str | None, ...]:
        assert isinstance(config, Adafactor)
        name, slot = path.rsplit("/", 1)
        dims = factored_dims(
            name,
            shapes[name].shape,
            axes_of[name],
            config.min_dim_size_to_factor,
            config.factor_rules,
        )
        return slot_axes(axes_of[name], dims)[slot]

    def of_leaf(path: tuple[Any, ...], leaf: Any) -> Any:
        if isinstance(leaf, AdafactorState):
            return leaf._replace(step=(), slots=trees.map_named(of_adafactor, leaf.slots))
        keys = [str(key.key) for key in path if isinstance(key, jax.tree_util.DictKey)]
        # optax may put dicts of its own around the parameters' tree.
        names = ("/".join(keys[start:]) for start in range(len(keys)))
        return next((axes_of[name] for name in names if name in axes_of), (None,) * leaf.ndim)

    return jax.tree_util.tree_map_with_path(
        of_leaf, state, is_leaf=lambda node: isinstance(node, AdafactorState)
    )


def updates_applied(opt_state: Any) -> Any:
    """Returns how many updates an optimizer's state has been through; None where it does not count.

    Schedules are functions of it. It falls behind the number of steps where steps are skipped.
    """
    for path, leaf in jax.tree_util.tree_leaves_with_path(opt_state):
        if isinstance(path[-1], jax.tree_util.GetAttrKey) and path[-1].name in ("step", "count"):
            return leaf
    return None


def _decay(config: Adafactor | Muon, lr_exponent: float) -> optax.GradientTransformation:
    """Returns what takes a share of the parameters off an update that is complete otherwise."""
    if not config.weight_decay:
        return optax.identity()

    def share(step: Any) -> jax.Array:
        return -config.weight_decay * config.learning_rate(step) ** lr_exponent

    return optax.add_decayed_weights(share, decay_mask(config.no_decay))
