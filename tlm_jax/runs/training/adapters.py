"""Adapters of a run, beyond their training: start, account, hand over."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
from jax.experimental import multihost_utils

from tlm_jax import models, trees
from tlm_jax.checkpoints import families, peft
from tlm_jax.errors import UserError
from tlm_jax.models import lora as lora_models
from tlm_jax.runs.training import console
from tlm_jax.runs.training.config import RunConfig
from tlm_jax.runs.training.frozen_base import FrozenBase
from tlm_jax.runs.training.trainable import of_model
from tlm_jax.training.state import TrainState
from tlm_jax.types import Params

DIRECTORY = "adapter"
"""Below MODEL_DIR: the trained adapters, for PEFT."""


def initial_adapters(run: RunConfig, base: FrozenBase, fresh: Params) -> tuple[Params, str]:
    """Returns the adapters to begin with, and a phrase for where they come from.

    Args:
      run: names a directory of PEFT's, or none.
      base: what they are on.
      fresh: new adapters, for shapes and shardings too; and what is trained beside them.

    Raises:
      UserError: there are none there, or they are not those that the run's settings describe.
    """
    lora = run.lora
    assert lora is not None
    if lora.initial_path is None:
        return fresh, f"new adapters on {base.identity.origin}"
    read, stored = peft.read_adapters(lora.initial_path, run.model, family=_family(run, base))
    found, wanted = trees.flatten(read), trees.flatten(of_model(fresh))
    same = found.keys() == wanted.keys() and stored.scale == lora.scale
    if not same or any(found[name].shape != wanted[name].shape for name in found):
        raise UserError(
            f"the adapters in {lora.initial_path} have rank {stored.rank}, alpha {stored.alpha:g}, "
            f"targets {stored.targets!r}, but LoraConfig has rank {lora.rank}, alpha "
            f"{lora.alpha:g}, targets {lora.targets!r}; set it to those"
        )
    placed = {
        name: jax.make_array_from_callback(x.shape, wanted[name].sharding, x.__getitem__)
        for name, x in found.items()
    }
    phrase = f"adapters of {lora.initial_path} on {base.identity.origin}"
    return {**fresh, **trees.unflatten(placed)}, phrase


def export(run: RunConfig, base: FrozenBase, adapters: Params) -> None:
    """Writes MODEL_DIR/adapter as PEFT has adapters, if Hugging Face has such a model."""
    assert run.lora is not None
    whole = multihost_utils.process_allgather(of_model(adapters), tiled=True)
    if jax.process_index() != 0:
        return
    try:
        peft.write_adapters(
            Path(run.model_dir, DIRECTORY),
            whole,
            run.model,
            run.lora,
            family=_family(run, base),
            base_path=None if base.source is None else str(base.source.path),
        )
    except UserError as error:
        console.say(f"note: adapters are not written in PEFT's form: {error}")


def _family(run: RunConfig, base: FrozenBase) -> families.Family:
    source = base.source
    if source is not None and source.hugging_face is not None:
        return families.family_of(source.hugging_face, str(source.path))
    return families.family_for(families.causal(run.model))


def summary(run: RunConfig, base: FrozenBase, state: TrainState) -> str:
    """Returns a line on how many parameters are trained, and what is kept on each device."""
    lora = run.lora
    assert lora is not None
    adapters = of_model(state.params)
    trained = sum(leaf.size for leaf in jax.tree.leaves(adapters))
    total = models.num_params(run.model) + trained
    sizes = (
        ("base" + (f" ({lora.quantization})" if lora.quantization else ""), base.params),
        ("adapters", adapters),
        ("optimizer", state.opt_state),
    )
    adapted = len(lora_models.targets(run.model, lora))
    return (
        f"lora    rank {lora.rank} on {adapted} of {len(lora_models.projections(run.model))} "
        f"projections: {trained:,} of {total:,} parameters are trained ({trained / total:.2%}); "
        "on each device "
        + ", ".join(f"{name} {_device_bytes(tree) / 1e6:,.1f} MB" for name, tree in sizes)
    )


def train_flops(run: RunConfig, batch: Mapping[str, Any]) -> float:
    """Returns the FLOPs of a step: `models.train_flops`, of which a frozen base needs two thirds.

    A frozen kernel has no gradient of its own, so its products are two (forward, and the gradient
    of its input) instead of three; an adapter's two matrices have all three.
    """
    flops = models.train_flops(run.model, batch)
    lora = run.lora
    if lora is None:
        return flops
    tokens = _tokens(run.model, batch)
    shapes = trees.flatten(models.abstract_params(run.model))
    for name in lora_models.projections(run.model):
        flops -= 2.0 * tokens(name) * shapes[f"{name}/kernel"].size
    targets = tokens("decoder")
    flops -= 2.0 * targets * run.model.token_width * run.model.vocab_size
    adapters = jax.eval_shape(
        lambda: lora_models.init_adapters(jax.random.PRNGKey(0), run.model, lora)
    )
    for name, leaf in trees.flatten(adapters).items():
        flops += 3.0 * 2.0 * tokens(name) * leaf.size
    return flops


def _tokens(config: models.ModelConfig, batch: Mapping[str, Any]):
    """Returns the function from a projection's name to how many tokens it sees."""
    rows, targets = batch["decoder_target_tokens"].shape
    if not config.is_encoder_decoder:
        return lambda name: rows * targets
    sources = batch["encoder_input_tokens"].shape[1]
    encoded = ("encoder_decoder_attention/key", "encoder_decoder_attention/value")

    def tokens(name: str) -> int:
        of_encoder = name.startswith("encoder/") or any(part in name for part in encoded)
        return rows * (sources if of_encoder else targets)

    return tokens


def _device_bytes(tree: Any) -> int:
    """Returns the bytes that a tree takes on one device."""
    return sum(
        math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize
        for leaf in jax.tree.leaves(tree)
    )
