"""Encoder-decoder and decoder-only transformers, as pure functions over plain parameter trees."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from tlm_jax.models.config import DecoderOnlyConfig, EncoderDecoderConfig, ModelConfig

if TYPE_CHECKING:
    from tlm_jax.models.api import (
        abstract_params,
        decode_step,
        encode,
        hidden_states,
        init,
        logical_axes,
        logits,
        prefill,
        unembed,
        unembedding,
    )
    from tlm_jax.models.cache import Cache, select_rows

_HOMES = {
    "Cache": "cache",
    "abstract_params": "api",
    "decode_step": "api",
    "encode": "api",
    "hidden_states": "api",
    "init": "api",
    "logical_axes": "api",
    "logits": "api",
    "prefill": "api",
    "select_rows": "cache",
    "unembed": "api",
    "unembedding": "api",
}

__all__ = ["DecoderOnlyConfig", "EncoderDecoderConfig", "ModelConfig", *_HOMES]


def __getattr__(name: str) -> Any:
    """Imports Flax only when a model is used: configurations are read without it."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
