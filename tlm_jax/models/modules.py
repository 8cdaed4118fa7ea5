"""The Flax module of a configuration, applied to parameters."""

from __future__ import annotations

from typing import Any

import jax

from tlm_jax.models.config import ModelConfig
from tlm_jax.models.decoder_only import DecoderOnly
from tlm_jax.models.encoder_decoder import EncoderDecoder
from tlm_jax.models.inner import NO_STATES, Keeps
from tlm_jax.types import Params


def apply(
    config: ModelConfig,
    params: Params,
    *args: Any,
    method: str = "__call__",
    dropout_rng: jax.Array | None = None,
) -> Any:
    """Returns what a method of the module gives; without a key there is no dropout."""
    model = module(config, deterministic=dropout_rng is None, emit_cache=method == "prefill")
    rngs = None if dropout_rng is None else {"dropout": dropout_rng}
    return model.apply({"params": params}, *args, method=method, rngs=rngs)


def module(
    config: ModelConfig,
    *,
    deterministic: bool = True,
    emit_cache: bool = False,
    keeps: Keeps = NO_STATES,
) -> EncoderDecoder | DecoderOnly:
    """Returns the module; `emit_cache` has its decoder's layers hand out keys and values."""
    if config.architecture == "encoder_decoder":
        return EncoderDecoder(config, deterministic, emit_cache, keeps)
    return DecoderOnly(config, deterministic, emit_cache, keeps.decoder)
