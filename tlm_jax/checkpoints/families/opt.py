"""OPT, with norms before or after each sublayer, and with projected embeddings (350m)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tlm_jax.checkpoints.families.fields import Fields, their_activation
from tlm_jax.checkpoints.families.table import Family
from tlm_jax.models.config import DecoderOnlyConfig

_L = "model.decoder.layers.{i}"
_POSITION_OFFSET = 2  # rows of the table that no position uses


def _read(config: Mapping[str, Any]) -> DecoderOnlyConfig:
    fields = Fields(config)
    fields.refuse_unless("layer_norm_elementwise_affine", True, "norms have a scale and a bias")
    fields.refuse_unless("_remove_final_layer_norm", False, "pre-norm models end with a norm")
    width, num_heads = fields.require("hidden_size"), fields.require("num_attention_heads")
    word_dim = fields.get("word_embed_proj_dim", default=width)
    bias = fields.get("enable_bias", default=True)
    return DecoderOnlyConfig(
        vocab_size=fields.require("vocab_size"),
        embed_dim=width,
        num_layers=fields.require("num_hidden_layers"),
        num_heads=num_heads,
        head_dim=width // num_heads,
        mlp_dim=fields.require("ffn_dim"),
        mlp_activations=(fields.activation("activation_function", default="relu"),),
        mlp_bias=bias,
        attention_bias=bias,
        attention_out_bias=bias,
        norm="layer",
        norm_bias=True,
        norm_epsilon=1e-5,
        norm_position="pre" if fields.get("do_layer_norm_before", default=True) else "post",
        tie_embeddings=fields.get("tie_word_embeddings", default=True),
        scale_tied_logits=False,
        position="learned",
        max_positions=fields.get("max_position_embeddings", default=2048),
        position_offset=_POSITION_OFFSET,
        word_embed_dim=None if word_dim == width else word_dim,
    )


def _write(config: DecoderOnlyConfig) -> dict[str, Any]:
    return {
        "vocab_size": config.vocab_size,
        "hidden_size": config.embed_dim,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "ffn_dim": config.mlp_dim,
        "activation_function": their_activation(config.mlp_activations[0]),
        "enable_bias": config.mlp_bias,
        "do_layer_norm_before": config.norm_position == "pre",
        "tie_word_embeddings": config.tie_embeddings,
        "max_position_embeddings": config.max_positions,
        "word_embed_proj_dim": config.word_embed_dim or config.embed_dim,
    }


OPT = Family(
    model_type="opt",
    architecture="OPTForCausalLM",
    table={
        "decoder/token_embedder": "model.decoder.embed_tokens",
        "decoder/position_embedder": "model.decoder.embed_positions",
        "decoder/project_in": "model.decoder.project_in",
        "decoder/project_out": "model.decoder.project_out",
        "decoder/layers_{i}/pre_self_attention_layer_norm": f"{_L}.self_attn_layer_norm",
        "decoder/layers_{i}/post_self_attention_layer_norm": f"{_L}.self_attn_layer_norm",
        "decoder/layers_{i}/self_attention/query": f"{_L}.self_attn.q_proj",
        "decoder/layers_{i}/self_attention/key": f"{_L}.self_attn.k_proj",
        "decoder/layers_{i}/self_attention/value": f"{_L}.self_attn.v_proj",
        "decoder/layers_{i}/self_attention/out": f"{_L}.self_attn.out_proj",
        "decoder/layers_{i}/pre_mlp_layer_norm": f"{_L}.final_layer_norm",
        "decoder/layers_{i}/post_mlp_layer_norm": f"{_L}.final_layer_norm",
        "decoder/layers_{i}/mlp/wi": f"{_L}.fc1",
        "decoder/layers_{i}/mlp/wo": f"{_L}.fc2",
        "decoder/decoder_norm": "model.decoder.final_layer_norm",
        "decoder/logits_dense": "lm_head",
    },
    read_config=_read,
    write_config=_write,
    prefix="model.",
)
