"""Counts the floating-point operations that a model needs, for model-FLOPs utilisation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tlm_jax.models.config import DecoderOnlyConfig, ModelConfig


def train_flops(config: ModelConfig, batch: Mapping[str, Any]) -> float:
    """Returns the FLOPs of forward and backward pass over one batch.

    3 x 2 x the multiply-adds of all matrix products of the forward pass: the backward pass has two
    products for each, and recomputation (remat) is not counted. Attention scores count in full, not
    half for causality, but in layers with a window as many a query as the window holds; embedding
    lookups, norms and softmax count nothing (Chowdhery et al. 2022, PaLM, appendix B).

    Args:
      config: the model.
      batch: arrays or shapes; padding counts, because it is computed.
    """
    rows, target_length = batch["decoder_target_tokens"].shape
    targets = rows * target_length
    if config.architecture == "encoder_decoder":
        source_length = batch["encoder_input_tokens"].shape[1]
        sources = rows * source_length
        encoder = sources * (_self_attention(config, source_length) + _mlp(config))
        cross = targets * (_queries(config) + _scores(config, source_length))
        cross += sources * _keys_and_values(config)
        decoder = targets * (_self_attention(config, target_length) + _mlp(config)) + cross
        layers = config.num_encoder_layers * encoder + config.num_decoder_layers * decoder
    else:
        seen = _keys_seen(config, target_length)
        layers = targets * sum(_self_attention(config, keys) + _mlp(config) for keys in seen)
        if config.word_embed_dim is not None:
            layers += targets * 2 * config.embed_dim * config.word_embed_dim
    return 3.0 * 2.0 * (layers + targets * config.token_width * config.vocab_size)


def forward_flops(
    config: ModelConfig, batch: Mapping[str, Any], predictions: int | None = None
) -> float:
    """Returns the FLOPs of a forward pass alone: a third of `train_flops`.

    Args:
      config: the model.
      batch: arrays or shapes.
      predictions: for how many positions logits are computed; None: all of the targets.
    """
    flops = train_flops(config, batch) / 3.0
    if predictions is not None:
        rows, target_length = batch["decoder_target_tokens"].shape
        unread = rows * target_length - predictions
        flops -= 2.0 * unread * config.token_width * config.vocab_size
    return flops


def _keys_seen(config: DecoderOnlyConfig, length: int) -> list[int]:
    """Returns for each layer how many keys the scores of one query count for."""
    inside = min(length, config.attention_window or length)
    windowed_layers = config.layer_windows or (False,) * config.num_layers
    return [inside if windowed else length for windowed in windowed_layers]


def _self_attention(config: ModelConfig, keys: int) -> int:
    """Returns multiply-adds a token and layer; so do the following."""
    return _queries(config) + _keys_and_values(config) + _scores(config, keys)


def _queries(config: ModelConfig) -> int:
    """The query and the output projection."""
    return 2 * config.embed_dim * config.num_heads * config.head_dim


def _keys_and_values(config: ModelConfig) -> int:
    return 2 * config.embed_dim * config.kv_heads * config.head_dim


def _scores(config: ModelConfig, keys: int) -> int:
    """Scores against so many keys, and the sum of as many values."""
    return 2 * keys * config.num_heads * config.head_dim


def _mlp(config: ModelConfig) -> int:
    return (len(config.mlp_activations) + 1) * config.embed_dim * config.mlp_dim
