"""Tiny models and prompts that the decoders are tested with."""

import functools
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tlm_jax import models

TINY = {"embed_dim": 16, "num_heads": 4, "head_dim": 4, "mlp_dim": 32}


@pytest.fixture(autouse=True)
def exact_products() -> Iterator[None]:
    """Products in full float32, as the recorded ones."""
    with jax.default_matmul_precision("highest"):
        yield


@pytest.fixture(scope="session")
def tiny() -> Callable[[str, int], tuple[models.ModelConfig, dict]]:
    """`tiny(kind, vocab_size)`: an `encdec` or `dec` model, and parameters with clear preferences.

    Embeddings and logits are larger than at the start of training: probabilities differ.
    """

    @functools.cache
    def build(kind: str, vocab_size: int) -> tuple[models.ModelConfig, dict]:
        if kind == "encdec":
            config = models.EncoderDecoderConfig(
                vocab_size=vocab_size, num_encoder_layers=1, num_decoder_layers=1, **TINY
            )
        else:
            config = models.DecoderOnlyConfig(vocab_size=vocab_size, num_layers=1, **TINY)
        params = models.init(jax.random.key(4), config)
        params["decoder"]["logits_dense"]["kernel"] *= 4
        return config, params

    return build


@pytest.fixture(scope="session")
def prompts() -> Callable[..., dict]:
    """`prompts(config, rows, length)`: random prompts of lengths 1, 2, ..., padded."""

    def build(config: models.ModelConfig, rows: int = 4, length: int = 5) -> dict:
        rng = np.random.default_rng(0)
        tokens = rng.integers(1, config.vocab_size, (rows, length), dtype=np.int32)
        mask = np.arange(length) <= (np.arange(rows) % length)[:, None]
        if isinstance(config, models.EncoderDecoderConfig):
            return {"encoder_input_tokens": jnp.asarray(tokens * mask)}
        return {
            "decoder_input_tokens": jnp.asarray(tokens * mask),
            "decoder_causal_attention": jnp.asarray(mask.astype(np.int32)),
        }

    return build
