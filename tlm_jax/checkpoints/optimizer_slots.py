"""Takes over the optimizer's state of a T5X checkpoint, so that its training goes on."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from tlm_jax.checkpoints.loading import load_array
from tlm_jax.checkpoints.pretrained import Pretrained
from tlm_jax.checkpoints.slot_layouts import PREFIX, joined_heads
from tlm_jax.checkpoints.structure import named_leaves, unnested
from tlm_jax.errors import UserError
from tlm_jax.lazy import in_memory
from tlm_jax.models.config import ModelConfig
from tlm_jax.trees import unflatten

_SLOT = re.compile(r"(?:^|/)slots/(.+)$")
_COUNT = re.compile(r"(?:^|/)(?:step|count)$")


def load_optimizer_state(source: Pretrained, config: ModelConfig, abstract: Any) -> Any:
    """Returns Adafactor's state as T5X left it.

    Args:
      source: a T5X checkpoint with optimizer slots.
      config: the model of the run; its parameters must be laid out as the checkpoint's, because
        factored slots of stacked layers cannot be told from those of single ones.
      abstract: the optimizer's state as `ShapeDtypeStruct`s, with shardings or without.

    Raises:
      UserError: the checkpoint holds no slots, of another optimizer, or of another layout.
    """
    where = f"{source.path} ({source.source_format})"
    if not source.optimizer:
        raise UserError(
            f"{where} holds no optimizer state to go on from; set RESTORE_OPTIMIZER=False to start "
            "with a new one"
        )
    if config.scan_layers != source.config.scan_layers:
        layout = "stacked" if source.config.scan_layers else "separate"
        raise UserError(
            f"{where} has the optimizer's state of {layout} layers; set "
            f"SCAN_LAYERS={source.config.scan_layers} to go on from it"
        )
    slots = joined_heads(source.optimizer)
    leaves = {}
    for name, leaf in named_leaves(abstract).items():
        slot = _SLOT.search(name)
        if slot is not None:
            array = slots.get(PREFIX + slot[1])
        elif _COUNT.search(name):
            array = in_memory(np.asarray(source.step, np.int32))
        else:
            array = None
        if array is None or array.shape != tuple(leaf.shape):
            found = "has none" if array is None else f"has {list(array.shape)}"
            raise UserError(
                f"{where}: the run's optimizer wants {name!r} {list(leaf.shape)}, the checkpoint "
                f"{found}; it was trained with another optimizer (T5X's is Adafactor) or factoring"
            )
        leaves[name] = load_array(name, array, leaf)
    return unnested(unflatten(leaves), abstract)
