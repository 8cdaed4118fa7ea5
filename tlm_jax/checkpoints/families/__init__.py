"""Architectures of Hugging Face's transformers: configuration and names, each in a few lines."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from tlm_jax.checkpoints.families.bloom import BLOOM
from tlm_jax.checkpoints.families.gemma import GEMMA, GEMMA2, GEMMA3_TEXT
from tlm_jax.checkpoints.families.gpt import GPT2, GPT_NEO, GPT_NEOX, GPTJ
from tlm_jax.checkpoints.families.llama import LLAMA, MISTRAL, QWEN2, QWEN3
from tlm_jax.checkpoints.families.opt import OPT
from tlm_jax.checkpoints.families.t5 import MT5, T5
from tlm_jax.checkpoints.families.table import (
    Family,
    Tensor,
    export_tensors,
    import_tensors,
    tensors,
)
from tlm_jax.errors import UserError, nearest
from tlm_jax.models.config import ModelConfig

FAMILIES = {
    family.model_type: family
    for family in (
        T5,
        MT5,
        LLAMA,
        MISTRAL,
        QWEN2,
        QWEN3,
        GEMMA,
        GEMMA2,
        GEMMA3_TEXT,
        BLOOM,
        OPT,
        GPT2,
        GPTJ,
        GPT_NEO,
        GPT_NEOX,
    )
}
"""By the `model_type` of config.json; of several that fit a model of ours, the first is written."""

_RUN_TIME = (
    "dtype",
    "dropout_rate",
    "scan_layers",
    "remat_policy",
    "embedding_init_stddev",
)


def family_of(config: Mapping[str, Any], where: str) -> Family:
    """Returns the family that a config.json names.

    Raises:
      UserError: it is not known; the message lists those that are.
    """
    model_type = config.get("model_type")
    classes = config.get("architectures")
    classes = [str(name) for name in classes] if isinstance(classes, list) else []
    for family in FAMILIES.values():
        if model_type == family.model_type or (
            model_type is None and family.architecture in classes
        ):
            return family
    what = model_type or ", ".join(classes) or "no model_type"
    raise UserError(
        f"{where} is of an unknown architecture ({what}); known: {', '.join(sorted(FAMILIES))}."
        + nearest(str(model_type), FAMILIES)
    )


def family_for(config: ModelConfig) -> Family:
    """Returns the first family that can express a model of ours exactly.

    Raises:
      UserError: none can.
    """
    refuse_prefix_lm(config)
    for family in FAMILIES.values():
        if fits(family, config):
            return family
    raise UserError(
        "no known Hugging Face architecture does exactly what this model does; known: "
        f"{', '.join(sorted(FAMILIES))}"
    )


def refuse_prefix_lm(config: ModelConfig) -> None:
    """Refuses a model whose prompt is seen both ways: all known decoders of theirs are causal.

    Raises:
      UserError: it is a prefix LM.
    """
    if config != causal(config):
        raise UserError(
            "this model is a prefix LM (prefix_lm=True: the tokens of a prompt see each other both "
            "ways), which no known Hugging Face architecture is: it would give other answers "
            "there. Write native or t5x, or train with prefix_lm=False"
        )


def causal(config: ModelConfig) -> ModelConfig:
    """Returns the model without `prefix_lm`, which has the same parameters by the same names."""
    return dataclasses.replace(config, prefix_lm=False) if config.is_prefix_lm else config


def fits(family: Family, config: ModelConfig) -> bool:
    """Returns whether writing a model's configuration and reading it gives the same model."""
    try:
        read = family.read_config(family.write_config(config))
        tensors(family, config)
    except (UserError, AttributeError, KeyError, TypeError, AssertionError):
        return False  # of the other kind of model, or with a field that the family has not
    return same_model(read, config)


def same_model(first: ModelConfig, second: ModelConfig) -> bool:
    """Returns whether two configurations differ at most in how they are run."""
    return type(first) is type(second) and not model_differences(first, second)


def model_differences(first: ModelConfig, second: ModelConfig) -> list[str]:
    """Returns in words the fields in which two models of one kind differ, other than in running."""
    first_fields, second_fields = first.resolved_fields(), second.resolved_fields()
    return [
        f"{name}: {first_fields[name]!r} and {second_fields[name]!r}"
        for name in first_fields
        if name not in _RUN_TIME
        and first_fields[name] != second_fields.get(name, first_fields[name])
    ]


__all__ = [
    "FAMILIES",
    "Family",
    "Tensor",
    "causal",
    "export_tensors",
    "family_for",
    "family_of",
    "fits",
    "import_tensors",
    "model_differences",
    "refuse_prefix_lm",
    "same_model",
    "tensors",
]
