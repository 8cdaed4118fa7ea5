"""Reads the tensors of PEFT's adapters as pairs A and B, and says what else lies among them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tlm_jax.checkpoints import peft_config
from tlm_jax.checkpoints.formats.blocks import check_finite
from tlm_jax.checkpoints.formats.safetensors_files import open_safetensors
from tlm_jax.errors import UserError

WEIGHTS = "adapter_model.safetensors"
PREFIX = "base_model.model."
"""Of all names, before the Hugging Face module."""


class Pair(NamedTuple):
    """A [in, r], B [r, out] and what (x A) B is multiplied by."""

    a: np.ndarray
    b: np.ndarray
    scale: float


def read_pairs(directory: Path, settings: Mapping[str, Any]) -> dict[str, Pair]:
    """Returns the pairs in the file by the Hugging Face module's name.

    Args:
      directory: with the file.
      settings: of adapter_config.json.

    Raises:
      UserError: there is no such file, or it holds something else than A and B of linear maps.
    """
    path = directory / WEIGHTS
    if not path.is_file():
        pickled = path.with_suffix(".bin")
        if pickled.is_file():
            raise UserError(
                f"{pickled} is a pickle, which can run any code when it is loaded, and {WEIGHTS} "
                "is missing. Where you trust it, load it with PEFT and save it again: "
                "save_pretrained(DIR, safe_serialization=True)"
            )
        raise UserError(f"{path} is missing: expected adapters as PEFT saves them, in safetensors")
    found = {_plain_name(name): array for name, array in open_safetensors(path).items()}
    pairs: dict[str, Pair] = {}
    for name in found:
        match = re.fullmatch(rf"{re.escape(PREFIX)}(.+)\.lora_(A|B)\.weight", name)
        if match is None:
            raise UserError(f"{path}: tensor {name!r} {_what_it_is(name)}; {peft_config.MERGE}")
    arrays = {name: array.read() for name, array in found.items()}
    for name, array in arrays.items():
        check_finite(name, array)
        module = name.removeprefix(PREFIX).rpartition(".lora_")[0]
        a, b = (arrays.get(f"{PREFIX}{module}.lora_{end}.weight") for end in "AB")
        if a is None or b is None or not _fit(a, b):
            shapes = [None if x is None else list(x.shape) for x in (a, b)]
            raise UserError(f"{path}: A and B of {module!r} do not fit: {shapes[0]}, {shapes[1]}")
        pairs[module] = Pair(
            a.astype(np.float32).T,
            b.astype(np.float32).T,
            peft_config.scale(settings, module, len(a)),
        )
    if not pairs:
        raise UserError(f"{path} holds no adapters")
    return pairs


def _plain_name(name: str) -> str:
    """Returns a name without what training wrappers put before it, and the adapter's own name."""
    before, prefix, behind = name.partition(PREFIX)
    plain = prefix + behind if prefix else before
    return re.sub(r"\.lora_([AB])\.default\.weight$", r".lora_\1.weight", plain)


def _what_it_is(name: str) -> str:
    if re.search(r"(?:embed\w*|lm_head|shared|wte)\.weight$", name):
        return (
            "is the base's own matrix of tokens, saved beside the adapters (as PEFT does where "
            "tokens were added), but only adapters are read"
        )
    return "is not the A or B of a linear map's adapter"


def _fit(a: np.ndarray, b: np.ndarray) -> bool:
    return a.ndim == b.ndim == 2 and a.shape[0] == b.shape[1] > 0
