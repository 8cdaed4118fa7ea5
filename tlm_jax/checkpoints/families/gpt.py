"""GPT-2, GPT-J, GPT-Neo and GPT-NeoX (Pythia)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tlm_jax.checkpoints.families.fields import Fields, rope_fields, their_activation
from tlm_jax.checkpoints.families.table import Family, Fused
from tlm_jax.models.config import DecoderOnlyConfig

_H = "transformer.h.{i}"
_X = "gpt_neox.layers.{i}"
_MASKS = r"\.(?:attn|attention|attn\.attention)\.(?:bias|masked_bias)$"


def _norms_of_layer(first: str, second: str) -> dict[str, str]:
    return {
        "decoder/layers_{i}/pre_self_attention_layer_norm": first,
        "decoder/layers_{i}/pre_mlp_layer_norm": second,
    }


def _gpt_fields(fields: Fields, *, tied: bool) -> dict[str, Any]:
    """Returns what GPT-2 and GPT-J say in the same way."""
    width = fields.require("n_embd", "hidden_size")
    num_heads = fields.require("n_head", "num_attention_heads")
    return {
        "vocab_size": fields.require("vocab_size"),
        "embed_dim": width,
        "num_layers": fields.require("n_layer", "num_hidden_layers"),
        "num_heads": num_heads,
        "head_dim": width // num_heads,
        "mlp_dim": fields.get("n_inner", default=4 * width),
        "mlp_activations": (fields.activation("activation_function", default="gelu_new"),),
        "mlp_bias": True,
        "norm": "layer",
        "norm_bias": True,
        "norm_epsilon": fields.get("layer_norm_epsilon", default=1e-5),
        "tie_embeddings": fields.get("tie_word_embeddings", default=tied),
        "scale_tied_logits": False,
    }


def _write_gpt(config: DecoderOnlyConfig) -> dict[str, Any]:
    return {
        "vocab_size": config.vocab_size,
        "n_embd": config.embed_dim,
        "n_layer": config.num_layers,
        "n_head": config.num_heads,
        "n_inner": config.mlp_dim,
        "activation_function": their_activation(config.mlp_activations[0]),
        "layer_norm_epsilon": config.norm_epsilon,
        "tie_word_embeddings": config.tie_embeddings,
    }


def _read_gpt2(config: Mapping[str, Any]) -> DecoderOnlyConfig:
    fields = Fields(config)
    fields.refuse_unless("scale_attn_weights", True, "attention is scaled by its width")
    fields.refuse_unless("scale_attn_by_inverse_layer_idx", False, "all layers scale alike")
    fields.refuse_unless("add_cross_attention", False, "the model is decoder-only")
    return DecoderOnlyConfig(
        **_gpt_fields(fields, tied=True),
        position="learned",
        max_positions=fields.get("n_positions", "n_ctx", default=1024),
        attention_bias=True,
        attention_out_bias=True,
    )


def _write_gpt2(config: DecoderOnlyConfig) -> dict[str, Any]:
    return {**_write_gpt(config), "n_positions": config.max_positions}


def _read_gptj(config: Mapping[str, Any]) -> DecoderOnlyConfig:
    fields = Fields(config)
    return DecoderOnlyConfig(
        **_gpt_fields(fields, tied=False),
        rotary_dim=fields.get("rotary_dim", default=64),
        rotary_interleaved=True,
        parallel_residual=True,
        logits_bias=True,
    )


def _write_gptj(config: DecoderOnlyConfig) -> dict[str, Any]:
    rotary_dim = config.head_dim if config.rotary_dim is None else config.rotary_dim
    return {**_write_gpt(config), "rotary_dim": rotary_dim}


def _read_gpt_neo(config: Mapping[str, Any]) -> DecoderOnlyConfig:
    fields = Fields(config)
    width = fields.require("hidden_size")
    num_heads = fields.require("num_heads", "num_attention_heads")
    layers = fields.require("num_layers", "num_hidden_layers")
    kinds = fields.get("attention_types", default=[[["global", "local"], layers // 2]])
    windowed = [kind == "local" for names, count in kinds for _ in range(count) for kind in names]
    return DecoderOnlyConfig(
        vocab_size=fields.require("vocab_size"),
        embed_dim=width,
        num_layers=layers,
        num_heads=num_heads,
        head_dim=width // num_heads,
        mlp_dim=fields.get("intermediate_size", default=4 * width),
        mlp_activations=(fields.activation("activation_function", default="gelu_new"),),
        mlp_bias=True,
        norm="layer",
        norm_bias=True,
        norm_epsilon=fields.get("layer_norm_epsilon", default=1e-5),
        tie_embeddings=fields.get("tie_word_embeddings", default=True),
        scale_tied_logits=False,
        position="learned",
        max_positions=fields.get("max_position_embeddings", default=2048),
        attention_scale=1.0,
        attention_out_bias=True,
        attention_window=fields.get("window_size", default=256),
        windowed_layers=tuple(windowed),
    )


def _write_gpt_neo(config: DecoderOnlyConfig) -> dict[str, Any]:
    windowed = config.windowed_layers or (True,) * config.num_layers
    return {
        "vocab_size": config.vocab_size,
        "hidden_size": config.embed_dim,
        "num_layers": config.num_layers,
        "num_heads": config.num_heads,
        "intermediate_size": config.mlp_dim,
        "activation_function": their_activation(config.mlp_activations[0]),
        "layer_norm_epsilon": config.norm_epsilon,
        "tie_word_embeddings": config.tie_embeddings,
        "max_position_embeddings": config.max_positions,
        "window_size": config.attention_window,
        "attention_types": [[["local" if windows else "global"], 1] for windows in windowed],
    }


def _read_gpt_neox(config: Mapping[str, Any]) -> DecoderOnlyConfig:
    fields = Fields(config)
    width, num_heads = fields.require("hidden_size"), fields.require("num_attention_heads")
    head_dim = width // num_heads
    rope = Fields(fields.get("rope_parameters", default={}))
    share = rope.get("partial_rotary_factor", default=fields.get("rotary_pct", default=0.25))
    bias = fields.get("attention_bias", default=True)
    parallel = fields.get("use_parallel_residual", default=True)
    return DecoderOnlyConfig(
        vocab_size=fields.require("vocab_size"),
        embed_dim=width,
        num_layers=fields.require("num_hidden_layers"),
        num_heads=num_heads,
        head_dim=head_dim,
        mlp_dim=fields.require("intermediate_size"),
        mlp_activations=(fields.activation("hidden_act", default="gelu"),),
        mlp_bias=True,
        norm="layer",
        norm_bias=True,
        norm_epsilon=fields.get("layer_norm_eps", default=1e-5),
        tie_embeddings=fields.get("tie_word_embeddings", default=False),
        scale_tied_logits=False,
        attention_bias=bias,
        attention_out_bias=bias,
        parallel_residual=parallel,
        parallel_norms=parallel,
        rotary_dim=int(head_dim * share),
        **fields.rotary(),
    )


def _write_gpt_neox(config: DecoderOnlyConfig) -> dict[str, Any]:
    rotary_dim = config.head_dim if config.rotary_dim is None else config.rotary_dim
    rope = rope_fields(config.rotary_base, config.rotary_scaling)
    return {
        "vocab_size": config.vocab_size,
        "hidden_size": config.embed_dim,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "intermediate_size": config.mlp_dim,
        "hidden_act": their_activation(config.mlp_activations[0]),
        "layer_norm_eps": config.norm_epsilon,
        "tie_word_embeddings": config.tie_embeddings,
        "attention_bias": config.attention_bias,
        "use_parallel_residual": config.parallel_residual,
        "rotary_pct": rotary_dim / config.head_dim,
        "rotary_emb_base": rope["rope_theta"],
        "rope_scaling": rope["rope_scaling"],
    }


_GPT_OUTSIDE = {
    "decoder/token_embedder": "transformer.wte",
    "decoder/position_embedder": "transformer.wpe",
    "decoder/decoder_norm": "transformer.ln_f",
    "decoder/logits_dense": "lm_head",
    **_norms_of_layer(f"{_H}.ln_1", f"{_H}.ln_2"),
}

GPT2 = Family(
    model_type="gpt2",
    architecture="GPT2LMHeadModel",
    table={
        **_GPT_OUTSIDE,
        "decoder/layers_{i}/self_attention": Fused(f"{_H}.attn.c_attn"),
        "decoder/layers_{i}/self_attention/out": f"{_H}.attn.c_proj",
        "decoder/layers_{i}/mlp/wi": f"{_H}.mlp.c_fc",
        "decoder/layers_{i}/mlp/wo": f"{_H}.mlp.c_proj",
    },
    read_config=_read_gpt2,
    write_config=_write_gpt2,
    prefix="transformer.",
    kernels_transposed=False,
    ignored=_MASKS,
)

GPTJ = Family(
    model_type="gptj",
    architecture="GPTJForCausalLM",
    table={
        **_GPT_OUTSIDE,
        "decoder/layers_{i}/self_attention/query": f"{_H}.attn.q_proj",
        "decoder/layers_{i}/self_attention/key": f"{_H}.attn.k_proj",
        "decoder/layers_{i}/self_attention/value": f"{_H}.attn.v_proj",
        "decoder/layers_{i}/self_attention/out": f"{_H}.attn.out_proj",
        "decoder/layers_{i}/mlp/wi": f"{_H}.mlp.fc_in",
        "decoder/layers_{i}/mlp/wo": f"{_H}.mlp.fc_out",
    },
    read_config=_read_gptj,
    write_config=_write_gptj,
    prefix="transformer.",
    ignored=_MASKS,
)

GPT_NEO = Family(
    model_type="gpt_neo",
    architecture="GPTNeoForCausalLM",
    table={
        **_GPT_OUTSIDE,
        "decoder/layers_{i}/self_attention/query": f"{_H}.attn.attention.q_proj",
        "decoder/layers_{i}/self_attention/key": f"{_H}.attn.attention.k_proj",
        "decoder/layers_{i}/self_attention/value": f"{_H}.attn.attention.v_proj",
        "decoder/layers_{i}/self_attention/out": f"{_H}.attn.attention.out_proj",
        "decoder/layers_{i}/mlp/wi": f"{_H}.mlp.c_fc",
        "decoder/layers_{i}/mlp/wo": f"{_H}.mlp.c_proj",
    },
    read_config=_read_gpt_neo,
    write_config=_write_gpt_neo,
    prefix="transformer.",
    ignored=_MASKS,
)

GPT_NEOX = Family(
    model_type="gpt_neox",
    architecture="GPTNeoXForCausalLM",
    table={
        "decoder/token_embedder": "gpt_neox.embed_in",
        "decoder/decoder_norm": "gpt_neox.final_layer_norm",
        "decoder/logits_dense": "embed_out",
        **_norms_of_layer(f"{_X}.input_layernorm", f"{_X}.post_attention_layernorm"),
        "decoder/layers_{i}/self_attention": Fused(
            f"{_X}.attention.query_key_value", per_head=True
        ),
        "decoder/layers_{i}/self_attention/out": f"{_X}.attention.dense",
        "decoder/layers_{i}/mlp/wi": f"{_X}.mlp.dense_h_to_4h",
        "decoder/layers_{i}/mlp/wo": f"{_X}.mlp.dense_4h_to_h",
    },
    read_config=_read_gpt_neox,
    write_config=_write_gpt_neox,
    prefix="gpt_neox.",
    ignored=rf"{_MASKS}|rotary_emb\.inv_freq$",
    duplicates=("embed_out.weight",),
)
