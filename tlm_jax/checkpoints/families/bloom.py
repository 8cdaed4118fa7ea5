"""BLOOM and BLOOMZ."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tlm_jax.checkpoints.families.fields import Fields
from tlm_jax.checkpoints.families.table import Family, Fused
from tlm_jax.models.config import DecoderOnlyConfig

_H = "transformer.h.{i}"


def _read(config: Mapping[str, Any]) -> DecoderOnlyConfig:
    fields = Fields(config)
    fields.refuse_unless(
        "apply_residual_connection_post_layernorm", False, "residuals bypass the norms"
    )
    width = fields.require("n_embed", "hidden_size")
    num_heads = fields.require("n_head", "num_attention_heads")
    return DecoderOnlyConfig(
        vocab_size=fields.require("vocab_size"),
        embed_dim=width,
        num_layers=fields.require("n_layer", "num_hidden_layers"),
        num_heads=num_heads,
        head_dim=width // num_heads,
        mlp_dim=4 * width,
        mlp_activations=("gelu",),
        mlp_bias=True,
        norm="layer",
        norm_bias=True,
        norm_epsilon=fields.get("layer_norm_epsilon", default=1e-5),
        tie_embeddings=fields.get("tie_word_embeddings", default=True),
        scale_tied_logits=False,
        position="alibi",
        embedding_norm=True,
        attention_bias=True,
        attention_out_bias=True,
    )


def _write(config: DecoderOnlyConfig) -> dict[str, Any]:
    return {
        "vocab_size": config.vocab_size,
        "hidden_size": config.embed_dim,
        "n_layer": config.num_layers,
        "n_head": config.num_heads,
        "layer_norm_epsilon": config.norm_epsilon,
        "tie_word_embeddings": config.tie_embeddings,
    }


BLOOM = Family(
    model_type="bloom",
    architecture="BloomForCausalLM",
    table={
        "decoder/token_embedder": "transformer.word_embeddings",
        "decoder/embedding_norm": "transformer.word_embeddings_layernorm",
        "decoder/layers_{i}/pre_self_attention_layer_norm": f"{_H}.input_layernorm",
        "decoder/layers_{i}/self_attention": Fused(
            f"{_H}.self_attention.query_key_value", per_head=True
        ),
        "decoder/layers_{i}/self_attention/out": f"{_H}.self_attention.dense",
        "decoder/layers_{i}/pre_mlp_layer_norm": f"{_H}.post_attention_layernorm",
        "decoder/layers_{i}/mlp/wi": f"{_H}.mlp.dense_h_to_4h",
        "decoder/layers_{i}/mlp/wo": f"{_H}.mlp.dense_4h_to_h",
        "decoder/decoder_norm": "transformer.ln_f",
        "decoder/logits_dense": "lm_head",
    },
    read_config=_read,
    write_config=_write,
    prefix="transformer.",
)
