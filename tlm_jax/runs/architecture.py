"""The name by which the data pipeline knows a model's kind of batch."""

from __future__ import annotations

from tlm_jax.models.config import EncoderDecoderConfig, ModelConfig


def architecture(model: ModelConfig) -> str:
    """Returns "encoder_decoder" or "decoder_only"."""
    return "encoder_decoder" if isinstance(model, EncoderDecoderConfig) else "decoder_only"
