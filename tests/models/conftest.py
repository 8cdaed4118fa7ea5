"""Tiny models of every kind, with parameters in which nothing is zero or one."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tlm_jax import models, trees

_SIZES = {"vocab_size": 64, "embed_dim": 32, "num_heads": 4, "head_dim": 8, "mlp_dim": 48}
_BIASES = {"attention_bias": True, "attention_out_bias": True, "mlp_bias": True}
_LAYER_NORM = {"norm": "layer", "norm_bias": True}

DECODERS = {
    "llama": {},
    "grouped": {"num_kv_heads": 2},
    "multi_query": {"num_kv_heads": 1, "mlp_activations": ("gelu", "linear")},
    "alibi": {"position": "alibi", "num_heads": 3},
    "learned": {"position": "learned", "max_positions": 40},
    "relative": {"position": "relative", "attention_scale": 1.0},
    "relative_per_layer": {"position": "relative", "relpos_per_layer": True, "num_kv_heads": 2},
    "no_positions": {"position": "none", "mlp_activations": ("relu",)},
    "gptj": {
        "parallel_residual": True,
        "rotary_dim": 4,
        "rotary_interleaved": True,
        "mlp_activations": ("gelu",),
        "mlp_bias": True,
        "logits_bias": True,
        **_LAYER_NORM,
    },
    "gpt2": {
        "position": "learned",
        "max_positions": 40,
        "mlp_activations": ("gelu",),
        "tie_embeddings": True,
        "scale_tied_logits": False,
        **_BIASES,
        **_LAYER_NORM,
    },
    "bloom": {
        "position": "alibi",
        "embedding_norm": True,
        "mlp_activations": ("gelu",),
        "tie_embeddings": True,
        **_BIASES,
        **_LAYER_NORM,
    },
    "post_norm": {"norm_position": "post", **_LAYER_NORM},
    "qwen3": {"qk_norm": True, "num_kv_heads": 2, "tie_embeddings": True},
    "prefix_lm": {"prefix_lm": True, "position": "relative", "attention_window": 4},
    "mistral": {"attention_window": 3, "num_kv_heads": 2},
    "llama3": {
        "rotary_base": 100.0,
        "rotary_scaling": models.RotaryScaling(
            kind="llama3", factor=4.0, original_max_positions=16
        ),
    },
    "gpt_neo": {
        "position": "learned",
        "max_positions": 40,
        "attention_scale": 1.0,
        "attention_window": 3,
        "windowed_layers": (False, True),
        **_LAYER_NORM,
    },
    "gpt_neox": {
        "parallel_residual": True,
        "parallel_norms": True,
        "rotary_dim": 2,
        **_BIASES,
        **_LAYER_NORM,
    },
    "opt_350m": {
        "position": "learned",
        "max_positions": 38,
        "position_offset": 2,
        "word_embed_dim": 16,
        "norm_position": "post",
        "tie_embeddings": True,
        **_BIASES,
        **_LAYER_NORM,
    },
    "gemma2": {
        "norm_position": "sandwich",
        "norm_scale_offset": 1.0,
        "embedding_scale": 5.0,
        "attention_soft_cap": 2.0,
        "logits_soft_cap": 3.0,
        "attention_window": 3,
        "windowed_layers": (True, True),
    },
    "gemma3": {
        "norm_position": "sandwich",
        "norm_scale_offset": 1.0,
        "qk_norm": True,
        "attention_window": 3,
        "windowed_layers": (True, False),
        "rotary_base": 1000.0,
        "rotary_windowed_base": 10.0,
        "rotary_scaling": models.RotaryScaling(kind="linear", factor=8.0),
    },
}

ENCODER_DECODERS = {
    "t5_1_1": {},
    "t5_1_0": {"mlp_activations": ("relu",), "tie_embeddings": True},
    "relpos_per_layer": {"relpos_per_layer": True},
    "grouped": {"num_kv_heads": 2},
}


@pytest.fixture(params=DECODERS)
def decoder(request: pytest.FixtureRequest, kind) -> models.DecoderOnlyConfig:
    """Each kind of decoder-only model in turn."""
    return kind(request.param)


@pytest.fixture(params=ENCODER_DECODERS)
def encoder_decoder(request: pytest.FixtureRequest) -> models.EncoderDecoderConfig:
    """Each kind of encoder-decoder model in turn."""
    changes = _SIZES | ENCODER_DECODERS[request.param]
    return models.EncoderDecoderConfig(num_encoder_layers=2, num_decoder_layers=3, **changes)


@pytest.fixture(scope="session")
def kind() -> Callable[[str], models.ModelConfig]:
    """A model by its name: "t5", or one of the decoder-only kinds."""

    def build(name: str) -> models.ModelConfig:
        if name == "t5":
            return models.EncoderDecoderConfig(num_encoder_layers=2, num_decoder_layers=3, **_SIZES)
        return models.DecoderOnlyConfig(num_layers=2, **(_SIZES | DECODERS[name]))

    return build


@pytest.fixture
def t5(kind) -> models.EncoderDecoderConfig:
    """One encoder-decoder model."""
    return kind("t5")


@pytest.fixture
def llama(kind) -> models.DecoderOnlyConfig:
    """One decoder-only model."""
    return kind("llama")


@pytest.fixture(scope="session")
def noisy_params() -> Callable[[models.ModelConfig], dict]:
    """Random parameters, so that a forgotten bias, norm or transposition shows."""

    def build(config: models.ModelConfig) -> dict:
        rng = np.random.default_rng(0)
        # Norms then multiply by about 1, whatever is added to their scale.
        norm_scale = 1 - config.decoder_spec().block.norm.scale_offset

        def draw(name: str, leaf: jax.ShapeDtypeStruct) -> jax.Array:
            noise = 0.2 * rng.standard_normal(leaf.shape, np.float32)
            if name.endswith("embedder/embedding"):
                noise *= 5
            return jnp.asarray(norm_scale + noise if name.endswith("scale") else noise)

        return trees.map_named(draw, models.abstract_params(config))

    return build


@pytest.fixture(scope="session")
def logits() -> Callable[..., jax.Array]:
    """`models.logits`, compiled."""
    return jax.jit(models.logits, static_argnames="config")


@pytest.fixture(scope="session")
def tokens() -> Callable[..., jax.Array]:
    """Random token ids from 1 to 63 of the shape given."""

    def build(*shape: int, seed: int = 0) -> jax.Array:
        return jnp.asarray(np.random.default_rng(seed).integers(1, 64, shape, np.int32))

    return build


@pytest.fixture(scope="session")
def unrolled() -> Callable[[models.ModelConfig], models.ModelConfig]:
    """The same model with layers that are not scanned."""
    return lambda config: dataclasses.replace(config, scan_layers=False)
