"""Reads parameters, inputs and outputs that another program recorded, in T5X's names."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tlm_jax import models, trees
from tlm_jax.checkpoints.formats.t5x_models import config_from_arrays
from tlm_jax.errors import UserError
from tlm_jax.lazy import in_memory
from tlm_jax.models import layouts
from tlm_jax.types import Batch, Params


@dataclasses.dataclass(frozen=True)
class Recording:
    """One directory of recorded arrays.

    Attributes:
      config: the model that the parameters are of, told by their names and shapes.
      params: in the model's own layout.
      inputs: arrays of `inputs.npz`.
      expected: arrays of `outputs.npz`, and those of `params_after3.npz` as `params_after3/...`.
      heads_are_split: whether recorded attention kernels have heads and head width apart.
    """

    config: models.ModelConfig
    params: Params
    inputs: dict[str, np.ndarray]
    expected: dict[str, np.ndarray]
    heads_are_split: bool

    @classmethod
    def load(cls, directory: Path) -> Recording:
        """Reads a directory; see `t5x_agreement.check_directory`."""
        inputs, expected = _arrays(directory / "inputs.npz"), _arrays(directory / "outputs.npz")
        updated = directory / "params_after3.npz"
        if updated.exists():
            expected |= {f"params_after3/{name}": x for name, x in _arrays(updated).items()}
        source = directory / "params.npz"
        if not source.exists() and directory.name.endswith("_tied"):
            untied = directory.name.removesuffix("_tied") + "_untied"
            source = directory.with_name(untied) / "params.npz"
        wanted = {str(name) for name in expected["param_names"]}
        flat = {name: x for name, x in _arrays(source).items() if name in wanted}
        config = config_from_arrays({name: in_memory(x) for name, x in flat.items()}, str(source))
        params = jax.tree.map(jnp.asarray, layouts.to_layout(trees.unflatten(flat), config))
        query = next(x for name, x in flat.items() if name.endswith("attention/query/kernel"))
        return cls(config, params, inputs, expected, query.ndim > (3 if config.scan_layers else 2))

    def batch(self, kind: str) -> Batch:
        """Returns the batch `unpacked`, `packed`, `decode`, or `fracw`: fractional weights."""
        if kind == "fracw":
            weights = jnp.asarray(self.inputs["fracw/decoder_loss_weights"])
            return {**self.batch("unpacked"), "decoder_loss_weights": weights}
        prefix = "decode_" if kind == "decode" else f"{kind}/"
        return {
            name.removeprefix(prefix): jnp.asarray(array)
            for name, array in self.inputs.items()
            if name.startswith(prefix)
        }

    def variant(self, **changes: Any) -> models.ModelConfig:
        """Returns the model with some fields of its configuration changed."""
        return dataclasses.replace(self.config, **changes)

    def recorded_layout(self, params: Params) -> dict[str, np.ndarray]:
        """Returns parameters (or gradients) by name, in the shapes of the recording."""
        flat = {name: np.asarray(array) for name, array in trees.flatten(params).items()}
        if not self.heads_are_split:
            return flat
        arrays = layouts.unrolled({name: in_memory(array) for name, array in flat.items()})
        arrays = layouts.split_heads(arrays, self.config.head_dim)
        if self.config.scan_layers:
            arrays = layouts.stack_layers(arrays)
        return {name: array.read() for name, array in sorted(arrays.items())}


def _arrays(path: Path) -> dict[str, np.ndarray]:
    if not path.exists():
        raise UserError(f"no {path}: expected a folder with inputs.npz, outputs.npz and params.npz")
    with np.load(path) as arrays:
        return dict(arrays)
