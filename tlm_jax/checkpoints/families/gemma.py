"""Gemma 1, 2 and 3 (text)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tlm_jax.checkpoints.families.fields import Fields, rope_fields, their_activation
from tlm_jax.checkpoints.families.llama import IGNORED, LAYER, NAMES, common_fields, write_common
from tlm_jax.checkpoints.families.table import Family
from tlm_jax.errors import UserError
from tlm_jax.models.config import DecoderOnlyConfig

_SANDWICH_NAMES = {
    **NAMES,
    "decoder/layers_{i}/post_self_attention_layer_norm": f"{LAYER}.post_attention_layernorm",
    "decoder/layers_{i}/pre_mlp_layer_norm": f"{LAYER}.pre_feedforward_layernorm",
    "decoder/layers_{i}/post_mlp_layer_norm": f"{LAYER}.post_feedforward_layernorm",
}
_GEMMA3_PATTERN = 6  # five layers with a window, then one without


def _gemma_fields(fields: Fields, *, kv_heads: int) -> dict[str, Any]:
    """Returns what all Gemmas have in common; `kv_heads` is what is meant where they are absent."""
    fields.refuse_unless("use_bidirectional_attention", False, "a text is read from left to right")
    common = common_fields(fields, tied=True, kv_heads=kv_heads)
    # `hidden_activation` came later; a config.json with "hidden_act": "gelu" means the tanh form.
    activation = fields.get("hidden_activation", default="gelu_pytorch_tanh")
    bias = fields.get("attention_bias", default=False)
    return common | {
        "head_dim": fields.get("head_dim", default=256),
        "mlp_activations": (fields.named_activation(activation), "linear"),
        "embedding_scale": float(fields.require("hidden_size")) ** 0.5,
        "norm_scale_offset": 1.0,
        "attention_bias": bias,
        "attention_out_bias": bias,
    }


def _window(fields: Fields) -> int:
    """Returns the window of the layers that have one; null is none, and they need it."""
    found = fields.get_or_null("sliding_window", absent=4096)
    if found is None:
        raise UserError("config.json has sliding_window=null; expected the window of its layers")
    return found


def _write_gemma(config: DecoderOnlyConfig) -> dict[str, Any]:
    activation = config.mlp_activations[0]
    hf_activation = "gelu_pytorch_tanh" if activation == "gelu" else their_activation(activation)
    return {
        **write_common(config),
        "hidden_act": hf_activation,
        "hidden_activation": hf_activation,
        "attention_bias": config.attention_bias,
    }


def _read_gemma(config: Mapping[str, Any]) -> DecoderOnlyConfig:
    return DecoderOnlyConfig(**_gemma_fields(Fields(config), kv_heads=16))


def _read_gemma2(config: Mapping[str, Any]) -> DecoderOnlyConfig:
    fields = Fields(config)
    layers = fields.require("num_hidden_layers")
    return DecoderOnlyConfig(
        **_gemma_fields(fields, kv_heads=4),
        norm_position="sandwich",
        attention_scale=fields.get("query_pre_attn_scalar", default=256) ** -0.5,
        # null switches a cap off; absent means Gemma 2's own.
        attention_soft_cap=fields.get_or_null("attn_logit_softcapping", absent=50.0),
        logits_soft_cap=fields.get_or_null("final_logit_softcapping", absent=30.0),
        attention_window=_window(fields),
        windowed_layers=fields.windowed_layers([number % 2 == 0 for number in range(layers)]),
    )


def _write_gemma2(config: DecoderOnlyConfig) -> dict[str, Any]:
    return {
        **_write_gemma(config),
        "query_pre_attn_scalar": _query_scalar(config),
        "attn_logit_softcapping": config.attention_soft_cap,
        "final_logit_softcapping": config.logits_soft_cap,
        "sliding_window": config.attention_window,
        "layer_types": _kinds(config),
    }


def _read_gemma3(config: Mapping[str, Any]) -> DecoderOnlyConfig:
    fields = Fields(config)
    layers = fields.require("num_hidden_layers")
    pattern = fields.get("sliding_window_pattern", default=_GEMMA3_PATTERN)
    local = fields.rotary("sliding_attention", base=10_000.0)["rotary_base"]
    rope = fields.get("rope_parameters", default={})
    if "sliding_attention" not in rope:
        local = float(fields.get("rope_local_base_freq", default=10_000.0))
    return DecoderOnlyConfig(
        **(_gemma_fields(fields, kv_heads=4) | fields.rotary("full_attention", base=1_000_000.0)),
        norm_position="sandwich",
        qk_norm=True,
        attention_scale=fields.get("query_pre_attn_scalar", default=256) ** -0.5,
        attention_soft_cap=fields.get("attn_logit_softcapping", default=None),
        logits_soft_cap=fields.get("final_logit_softcapping", default=None),
        attention_window=_window(fields),
        windowed_layers=fields.windowed_layers([(n + 1) % pattern != 0 for n in range(layers)]),
        rotary_windowed_base=local,
    )


def _write_gemma3(config: DecoderOnlyConfig) -> dict[str, Any]:
    return {
        **_write_gemma2(config),
        **rope_fields(config.rotary_base, config.rotary_scaling),
        "rope_local_base_freq": config.rotary_windowed_base,
    }


def _kinds(config: DecoderOnlyConfig) -> list[str]:
    windowed = config.windowed_layers or (True,) * config.num_layers
    return ["sliding_attention" if windows else "full_attention" for windows in windowed]


def _query_scalar(config: DecoderOnlyConfig) -> int | float:
    """Undoes `scalar ** -0.5`; the scalar is a whole number in every published model."""
    assert config.attention_scale is not None
    scalar = config.attention_scale**-2
    whole = round(scalar)
    return whole if whole**-0.5 == config.attention_scale else scalar


GEMMA = Family(
    model_type="gemma",
    architecture="GemmaForCausalLM",
    table=NAMES,
    read_config=_read_gemma,
    write_config=_write_gemma,
    prefix="model.",
    ignored=IGNORED,
)

GEMMA2 = Family(
    model_type="gemma2",
    architecture="Gemma2ForCausalLM",
    table=_SANDWICH_NAMES,
    read_config=_read_gemma2,
    write_config=_write_gemma2,
    prefix="model.",
    ignored=IGNORED,
)

GEMMA3_TEXT = Family(
    model_type="gemma3_text",
    architecture="Gemma3ForCausalLM",
    table=_SANDWICH_NAMES,
    read_config=_read_gemma3,
    write_config=_write_gemma3,
    prefix="model.",
    ignored=IGNORED,
)
