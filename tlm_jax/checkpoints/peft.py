"""Adapters as PEFT keeps them: `adapter_model.safetensors` and `adapter_config.json`.

Its names are `base_model.model.` + the Hugging Face module + `.lora_A.weight` [r, in] and
`.lora_B.weight` [out, r]. A module of theirs that holds several of ours (BLOOM's
`query_key_value`) has one pair: read, each of ours gets the same A and its own rows of B; written,
the ranks add up, since our A's differ.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tlm_jax import models, trees
from tlm_jax.checkpoints import families, peft_config
from tlm_jax.checkpoints.families import Family, Tensor
from tlm_jax.checkpoints.families.table import fused_order
from tlm_jax.checkpoints.formats.safetensors_files import SafetensorsWriter
from tlm_jax.checkpoints.peft_tensors import PREFIX, WEIGHTS, Pair, read_pairs
from tlm_jax.errors import UserError, nearest
from tlm_jax.lazy import in_memory
from tlm_jax.models.config import ModelConfig
from tlm_jax.models.layouts import stack_layers, unstack_layers
from tlm_jax.models.lora import LoraConfig, projections
from tlm_jax.types import Params

_KERNEL = "/kernel"


def write_adapters(
    directory: Path | str,
    adapters: Params,
    config: ModelConfig,
    lora: LoraConfig,
    *,
    family: Family | None = None,
    base_path: str | None = None,
) -> None:
    """Writes adapters so that PEFT loads them onto the same base.

    Args:
      directory: made if absent; files of earlier adapters are replaced.
      adapters: as trained.
      config: the model.
      lora: as trained with.
      family: whose names to use; by default the first that has this model.
      base_path: what `base_model_name_or_path` says.

    Raises:
      UserError: no family has this model.
    """
    families.refuse_prefix_lm(config)
    family = family or families.family_for(config)
    ours = _unstacked_pairs(adapters, lora)
    hf_pairs: dict[str, Pair] = {}
    places = _places(family, config)
    for module, tensor in places.items():
        pairs = [ours.get(name.removesuffix(_KERNEL)) for name in tensor.ours]
        if any(pair is not None for pair in pairs):
            hf_pairs[module] = _joined(tensor, pairs)
    arrays = {}
    for module, pair in hf_pairs.items():
        arrays[f"{PREFIX}{module}.lora_A.weight"] = np.ascontiguousarray(pair.a.T)
        arrays[f"{PREFIX}{module}.lora_B.weight"] = np.ascontiguousarray(pair.b.T)
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    lazy = {name: in_memory(array) for name, array in arrays.items()}
    with SafetensorsWriter(directory / (WEIGHTS + ".partial"), lazy) as writer:
        for name, array in arrays.items():
            writer.write(name, (), array)
    (directory / (WEIGHTS + ".partial")).rename(directory / WEIGHTS)
    text = peft_config.content(
        {module: pair.a.shape[1] for module, pair in hf_pairs.items()},
        lora,
        modules=places.keys(),
        task_type="SEQ_2_SEQ_LM" if config.is_encoder_decoder else "CAUSAL_LM",
        fan_in_fan_out=not family.kernels_transposed,
        base_path=base_path,
    )
    (directory / peft_config.FILE).write_text(text, encoding="utf-8")


def read_adapters(
    directory: Path | str, config: ModelConfig, *, family: Family | None = None
) -> tuple[Params, LoraConfig]:
    """Reads adapters that PEFT, or `write_adapters`, wrote.

    Where their ranks or scales differ from module to module, adapters are filled up with zeros to
    the largest rank, and B takes up the ratio of the scales.

    Args:
      directory: holds the two files.
      config: the model that they are for, layers scanned or not.
      family: whose names they have; by default the first that has this model.

    Returns:
      Adapters as NumPy arrays, and the settings that go with them.

    Raises:
      UserError: a file is missing, or the adapters are not for this model, or of a kind that we
        do not have.
    """
    directory = Path(directory)
    settings = peft_config.read(directory / peft_config.FILE)
    family = family or families.family_for(families.causal(config))
    hf_pairs = read_pairs(directory, settings)
    ours: dict[str, Pair] = {}
    places = _places(family, config)
    shapes = trees.flatten(models.abstract_params(dataclasses.replace(config, scan_layers=False)))
    for module, tensor in places.items():
        if module in hf_pairs:
            _check_fits(directory, module, hf_pairs[module], [shapes[name] for name in tensor.ours])
            ours |= _separated(tensor, hf_pairs.pop(module))
    if hf_pairs:
        name = min(hf_pairs)
        raise UserError(
            f"{directory / WEIGHTS}: adapter of {name!r}, which a {family.architecture} of this "
            f"size has not as a projection.{nearest(name, places)} Or {peft_config.MERGE}"
        )
    rank = max(pair.a.shape[1] for pair in ours.values())
    scale = max(pair.scale for pair in ours.values())
    flat: dict[str, np.ndarray] = {}
    for name, pair in ours.items():
        missing = rank - pair.a.shape[1]
        ratio = np.float32(pair.scale / scale)
        flat[f"{name}/lora_a"] = np.pad(pair.a, ((0, 0), (0, missing)))
        flat[f"{name}/lora_b"] = np.pad(pair.b * ratio, ((0, missing), (0, 0)))
    adapters = _in_layout(flat, config, directory)
    lora = peft_config.lora_config(
        settings, rank=rank, scale=scale, targets=_pattern(adapters, config)
    )
    return adapters, lora


def _check_fits(directory: Path, module: str, pair: Pair, kernels: list[Any]) -> None:
    wanted = (kernels[0].shape[0], sum(kernel.shape[1] for kernel in kernels))
    if (pair.a.shape[0], pair.b.shape[1]) != wanted:
        raise UserError(
            f"{directory / WEIGHTS}: {module!r} has A {list(pair.a.T.shape)} and B "
            f"{list(pair.b.T.shape)}, but the model's projection is from {wanted[0]} to {wanted[1]}"
        )


def _places(family: Family, config: ModelConfig) -> dict[str, Tensor]:
    """Returns the projections, by the Hugging Face module's name."""
    ours = set(projections(dataclasses.replace(config, scan_layers=False)))
    return {
        tensor.hf_name.removesuffix(".weight"): tensor
        for tensor in families.tensors(family, config)
        if tensor.ours[0].endswith(_KERNEL) and tensor.ours[0].removesuffix(_KERNEL) in ours
    }


def _unstacked_pairs(adapters: Params, lora: LoraConfig) -> dict[str, Pair]:
    """Returns the pairs of single layers, by our module's name."""
    lazy = {name: in_memory(np.asarray(x)) for name, x in trees.flatten(adapters).items()}
    arrays = {name: array.read() for name, array in unstack_layers(lazy).items()}
    modules = [name.removesuffix("/lora_a") for name in arrays if name.endswith("/lora_a")]
    return {
        module: Pair(arrays[f"{module}/lora_a"], arrays[f"{module}/lora_b"], lora.scale)
        for module in modules
    }


def _joined(tensor: Tensor, pairs: list[Pair | None]) -> Pair:
    """Returns one pair for a module of theirs from those of ours that it holds."""
    present = [pair for pair in pairs if pair is not None]
    first = present[0]
    if len(pairs) == 1:
        return first
    size = first.b.shape[1]
    if len(present) == len(pairs) and all(np.array_equal(pair.a, first.a) for pair in present):
        # As read from PEFT: one A for all.
        a, blocks = first.a, [pair.b for pair in present]
    else:
        a = np.concatenate([pair.a for pair in present], axis=1)
        blocks, row = [], 0
        for pair in pairs:
            block = np.zeros((a.shape[1], size), np.float32)
            if pair is not None:
                block[row : row + len(pair.b)] = pair.b
                row += len(pair.b)
            blocks.append(block)
    part, place = fused_order(tensor, size)
    return Pair(a, np.stack(blocks)[part, :, place].T, first.scale)


def _separated(tensor: Tensor, pair: Pair) -> dict[str, Pair]:
    """Undoes `_joined`."""
    names = [name.removesuffix(_KERNEL) for name in tensor.ours]
    if len(names) == 1:
        return {names[0]: pair}
    size = pair.b.shape[1] // len(names)
    part, place = fused_order(tensor, size)
    result = {}
    for number, name in enumerate(names):
        b = np.empty((len(pair.b), size), pair.b.dtype)
        b[:, place[part == number]] = pair.b[:, part == number]
        result[name] = pair._replace(b=b)
    return result


def _in_layout(
    flat: Mapping[str, np.ndarray], config: ModelConfig, directory: Path
) -> dict[str, Any]:
    """Returns the adapters with layers stacked where the model's are."""
    if not config.scan_layers:
        return trees.unflatten(flat)
    modules = {re.sub(r"layers_\d+", "layers_{i}", name) for name in flat}
    layers = {int(number) for name in flat for number in re.findall(r"/layers_(\d+)/", name)}
    kernels = trees.flatten(models.abstract_params(dataclasses.replace(config, scan_layers=False)))
    for module in sorted(modules):
        kernel = module.rpartition("/")[0] + _KERNEL
        of_model = {n for n in range(_most_layers(config)) if kernel.format(i=n) in kernels}
        adapted = sorted(n for n in layers if module.format(i=n) in flat)
        if set(adapted) != of_model:
            raise UserError(
                f"{directory}: of {len(of_model)} layers only {adapted} have an adapter at "
                f"{kernel!r} (layers_to_transform, or a pattern); layers that differ cannot be "
                "stacked: set SCAN_LAYERS to False (scan_layers=False of the model)"
            )
    stacked = stack_layers({name: in_memory(array) for name, array in flat.items()})
    return trees.unflatten({name: array.read() for name, array in stacked.items()})


def _most_layers(config: ModelConfig) -> int:
    return max(stack.num_layers for stack in config.stack_specs().values())


def _pattern(adapters: Params, config: ModelConfig) -> str:
    """Returns a regular expression for the projections that have an adapter."""
    adapted = {name.rpartition("/")[0] for name in trees.flatten(adapters)}
    if adapted == set(projections(config)):
        return "."
    return "^(" + "|".join(sorted(map(re.escape, adapted))) + ")$"
