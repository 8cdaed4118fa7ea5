"""The smallest models that still have every kind of part; keywords replace fields."""

from typing import Any

from tlm_jax.models.config import DecoderOnlyConfig, EncoderDecoderConfig

_SIZES: dict[str, Any] = {
    "embed_dim": 16,
    "num_heads": 2,
    "head_dim": 8,
    "mlp_dim": 32,
    "dropout_rate": 0.0,
}


def encoder_decoder(vocab_size: int, **fields: Any) -> EncoderDecoderConfig:
    """Returns one of a layer a stack."""
    layers = {"num_encoder_layers": 1, "num_decoder_layers": 1}
    return EncoderDecoderConfig(vocab_size=vocab_size, **{**_SIZES, **layers, **fields})


def decoder_only(vocab_size: int, **fields: Any) -> DecoderOnlyConfig:
    """Returns one of a single layer."""
    return DecoderOnlyConfig(vocab_size=vocab_size, **{**_SIZES, "num_layers": 1, **fields})
