"""LLaMA and the families that share its names: Mistral, Qwen2, Qwen3.

LLaMA 1 to 3, CodeLLaMA, WizardMath, MetaMath, Llemma and SmolLM2 are all of type "llama".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tlm_jax.checkpoints.families.fields import Fields, rope_fields, their_activation
from tlm_jax.checkpoints.families.table import Family
from tlm_jax.models.config import DecoderOnlyConfig

LAYER = "model.layers.{i}"
NAMES = {
    "decoder/token_embedder": "model.embed_tokens",
    "decoder/layers_{i}/pre_self_attention_layer_norm": f"{LAYER}.input_layernorm",
    "decoder/layers_{i}/self_attention/query": f"{LAYER}.self_attn.q_proj",
    "decoder/layers_{i}/self_attention/key": f"{LAYER}.self_attn.k_proj",
    "decoder/layers_{i}/self_attention/value": f"{LAYER}.self_attn.v_proj",
    "decoder/layers_{i}/self_attention/out": f"{LAYER}.self_attn.o_proj",
    "decoder/layers_{i}/self_attention/query_norm": f"{LAYER}.self_attn.q_norm",
    "decoder/layers_{i}/self_attention/key_norm": f"{LAYER}.self_attn.k_norm",
    "decoder/layers_{i}/pre_mlp_layer_norm": f"{LAYER}.post_attention_layernorm",
    "decoder/layers_{i}/mlp/wi_0": f"{LAYER}.mlp.gate_proj",
    "decoder/layers_{i}/mlp/wi_1": f"{LAYER}.mlp.up_proj",
    "decoder/layers_{i}/mlp/wo": f"{LAYER}.mlp.down_proj",
    "decoder/decoder_norm": "model.norm",
    "decoder/logits_dense": "lm_head",
}
IGNORED = r"rotary_emb\.inv_freq$"


def common_fields(
    fields: Fields, *, tied: bool, kv_heads: int | None = None, base: float = 10_000.0
) -> dict[str, Any]:
    """Returns what all of these families say in the same way.

    Args:
      fields: of config.json.
      tied: what absent `tie_word_embeddings` means.
      kv_heads: what absent `num_key_value_heads` means; null, and None here, as many as heads.
      base: what absent `rope_theta` means.
    """
    num_heads, width = fields.require("num_attention_heads"), fields.require("hidden_size")
    return {
        "vocab_size": fields.require("vocab_size"),
        "embed_dim": width,
        "num_layers": fields.require("num_hidden_layers"),
        "num_heads": num_heads,
        "num_kv_heads": fields.get_or_null("num_key_value_heads", absent=kv_heads) or num_heads,
        "head_dim": fields.get("head_dim", default=width // num_heads),
        "mlp_dim": fields.require("intermediate_size"),
        "mlp_activations": (fields.activation("hidden_act", default="silu"), "linear"),
        "norm_epsilon": fields.get("rms_norm_eps", default=1e-6),
        "tie_embeddings": fields.get("tie_word_embeddings", default=tied),
        "scale_tied_logits": False,
        **fields.rotary(base=base),
    }


def write_common(config: DecoderOnlyConfig) -> dict[str, Any]:
    """Returns the fields of config.json that all of these families have."""
    return {
        "vocab_size": config.vocab_size,
        "hidden_size": config.embed_dim,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "num_key_value_heads": config.kv_heads,
        "head_dim": config.head_dim,
        "intermediate_size": config.mlp_dim,
        "hidden_act": their_activation(config.mlp_activations[0]),
        "rms_norm_eps": config.norm_epsilon,
        "tie_word_embeddings": config.tie_embeddings,
        **rope_fields(config.rotary_base, config.rotary_scaling),
    }


def _read_llama(config: Mapping[str, Any]) -> DecoderOnlyConfig:
    fields = Fields(config)
    bias = fields.get("attention_bias", default=False)
    return DecoderOnlyConfig(
        **common_fields(fields, tied=False),
        attention_bias=bias,
        attention_out_bias=bias,
        mlp_bias=fields.get("mlp_bias", default=False),
    )


def _write_llama(config: DecoderOnlyConfig) -> dict[str, Any]:
    return {
        **write_common(config),
        "attention_bias": config.attention_bias,
        "mlp_bias": config.mlp_bias,
    }


def _read_mistral(config: Mapping[str, Any]) -> DecoderOnlyConfig:
    fields = Fields(config)
    return DecoderOnlyConfig(
        **common_fields(fields, tied=False, kv_heads=8),
        # null switches the window off; absent means Mistral's own.
        attention_window=fields.get_or_null("sliding_window", absent=4096),
    )


def _write_mistral(config: DecoderOnlyConfig) -> dict[str, Any]:
    return {**write_common(config), "sliding_window": config.attention_window}


def _windows(fields: Fields) -> dict[str, Any]:
    """Qwen's layers from `max_window_layers` on have a window, if `use_sliding_window`."""
    window = fields.get_or_null("sliding_window", absent=4096)
    if window is None or not fields.get("use_sliding_window", default=False):
        return {}
    layers = fields.require("num_hidden_layers")
    first = fields.get("max_window_layers", default=28)
    windowed = fields.windowed_layers([number >= first for number in range(layers)])
    return {"attention_window": window, "windowed_layers": windowed} if any(windowed) else {}


def _write_windows(config: DecoderOnlyConfig) -> dict[str, Any]:
    if config.attention_window is None:
        return {"use_sliding_window": False}
    windowed = config.windowed_layers or (True,) * config.num_layers
    kinds = ["sliding_attention" if windows else "full_attention" for windows in windowed]
    first = windowed.index(True) if True in windowed else config.num_layers
    return {
        "use_sliding_window": True,
        "sliding_window": config.attention_window,
        "max_window_layers": first,
        "layer_types": kinds,
    }


def _read_qwen2(config: Mapping[str, Any]) -> DecoderOnlyConfig:
    fields = Fields(config)
    return DecoderOnlyConfig(
        **common_fields(fields, tied=False, kv_heads=32), **_windows(fields), attention_bias=True
    )


def _write_qwen2(config: DecoderOnlyConfig) -> dict[str, Any]:
    return {**write_common(config), **_write_windows(config)}


def _read_qwen3(config: Mapping[str, Any]) -> DecoderOnlyConfig:
    fields = Fields(config)
    bias = fields.get("attention_bias", default=False)
    common = common_fields(fields, tied=False, kv_heads=32)
    common["head_dim"] = fields.get("head_dim", default=128)
    return DecoderOnlyConfig(
        **common,
        **_windows(fields),
        qk_norm=True,
        attention_bias=bias,
        attention_out_bias=bias,
    )


def _write_qwen3(config: DecoderOnlyConfig) -> dict[str, Any]:
    return {
        **write_common(config),
        **_write_windows(config),
        "attention_bias": config.attention_bias,
    }


LLAMA = Family(
    model_type="llama",
    architecture="LlamaForCausalLM",
    table=NAMES,
    read_config=_read_llama,
    write_config=_write_llama,
    prefix="model.",
    ignored=IGNORED,
)

MISTRAL = Family(
    model_type="mistral",
    architecture="MistralForCausalLM",
    table=NAMES,
    read_config=_read_mistral,
    write_config=_write_mistral,
    prefix="model.",
    ignored=IGNORED,
)

QWEN2 = Family(
    model_type="qwen2",
    architecture="Qwen2ForCausalLM",
    table=NAMES,
    read_config=_read_qwen2,
    write_config=_write_qwen2,
    prefix="model.",
    ignored=IGNORED,
)

QWEN3 = Family(
    model_type="qwen3",
    architecture="Qwen3ForCausalLM",
    table=NAMES,
    read_config=_read_qwen3,
    write_config=_write_qwen3,
    prefix="model.",
    ignored=IGNORED,
)
