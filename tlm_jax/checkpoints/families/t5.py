"""T5 1.0, T5 1.1, Flan-T5 and mT5."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tlm_jax.checkpoints.families.fields import Fields, their_activation
from tlm_jax.checkpoints.families.table import Family
from tlm_jax.models.config import EncoderDecoderConfig

_ENCODER = "encoder.block.{i}.layer"
_DECODER = "decoder.block.{i}.layer"


def _attention(module: str, hf_module: str) -> dict[str, str]:
    return {
        f"{module}/{name}": f"{hf_module}.{name[0]}" for name in ("query", "key", "value", "out")
    }


def _mlp(module: str, hf_module: str) -> dict[str, str]:
    return {f"{module}/{name}": f"{hf_module}.{name}" for name in ("wi", "wi_0", "wi_1", "wo")}


_TABLE = {
    "token_embedder": "shared",
    "encoder/relpos_bias": "encoder.block.0.layer.0.SelfAttention.relative_attention_bias",
    "encoder/encoder_norm": "encoder.final_layer_norm",
    "encoder/layers_{i}/pre_attention_layer_norm": f"{_ENCODER}.0.layer_norm",
    **_attention("encoder/layers_{i}/attention", f"{_ENCODER}.0.SelfAttention"),
    "encoder/layers_{i}/pre_mlp_layer_norm": f"{_ENCODER}.1.layer_norm",
    **_mlp("encoder/layers_{i}/mlp", f"{_ENCODER}.1.DenseReluDense"),
    "decoder/relpos_bias": "decoder.block.0.layer.0.SelfAttention.relative_attention_bias",
    "decoder/decoder_norm": "decoder.final_layer_norm",
    "decoder/layers_{i}/pre_self_attention_layer_norm": f"{_DECODER}.0.layer_norm",
    **_attention("decoder/layers_{i}/self_attention", f"{_DECODER}.0.SelfAttention"),
    "decoder/layers_{i}/pre_cross_attention_layer_norm": f"{_DECODER}.1.layer_norm",
    **_attention("decoder/layers_{i}/encoder_decoder_attention", f"{_DECODER}.1.EncDecAttention"),
    "decoder/layers_{i}/pre_mlp_layer_norm": f"{_DECODER}.2.layer_norm",
    **_mlp("decoder/layers_{i}/mlp", f"{_DECODER}.2.DenseReluDense"),
    "decoder/logits_dense": "lm_head",
}


def _reader(*, tied: bool):
    """Returns how a config.json is read whose `tie_word_embeddings` is `tied` where absent."""

    def read(config: Mapping[str, Any]) -> EncoderDecoderConfig:
        fields = Fields(config)
        projection = fields.get("feed_forward_proj", default="relu")
        gated = projection.startswith("gated-")
        name = projection.removeprefix("gated-")
        # "gated-gelu" means the tanh form: transformers' note on the first T5 1.1 checkpoints.
        activation = "gelu" if projection == "gated-gelu" else fields.named_activation(name)
        tie = fields.get("tie_word_embeddings", default=tied)
        layers = fields.require("num_layers")
        return EncoderDecoderConfig(
            vocab_size=fields.require("vocab_size"),
            embed_dim=fields.require("d_model"),
            num_encoder_layers=layers,
            num_decoder_layers=fields.get("num_decoder_layers", default=layers),
            num_heads=fields.require("num_heads"),
            head_dim=fields.require("d_kv"),
            mlp_dim=fields.require("d_ff"),
            mlp_activations=(activation, "linear") if gated else (activation,),
            tie_embeddings=tie,
            # transformers 5 says by a field of its own what used to follow from tying.
            scale_tied_logits=fields.get("scale_decoder_outputs", default=tie) if tie else True,
            norm_epsilon=fields.get("layer_norm_epsilon", default=1e-6),
            relpos_buckets=fields.get("relative_attention_num_buckets", default=32),
            relpos_max_distance=fields.get("relative_attention_max_distance", default=128),
        )

    return read


def _write(config: EncoderDecoderConfig) -> dict[str, Any]:
    first = config.mlp_activations[0]
    gated = len(config.mlp_activations) == 2
    name = "gelu" if gated and first == "gelu" else their_activation(first)
    return {
        "vocab_size": config.vocab_size,
        "d_model": config.embed_dim,
        "num_layers": config.num_encoder_layers,
        "num_decoder_layers": config.num_decoder_layers,
        "num_heads": config.num_heads,
        "d_kv": config.head_dim,
        "d_ff": config.mlp_dim,
        "feed_forward_proj": f"gated-{name}" if gated else name,
        "tie_word_embeddings": config.tie_embeddings,
        "scale_decoder_outputs": config.tie_embeddings and config.scale_tied_logits,
        "layer_norm_epsilon": config.norm_epsilon,
        "relative_attention_num_buckets": config.relpos_buckets,
        "relative_attention_max_distance": config.relpos_max_distance,
        "is_encoder_decoder": True,
        "decoder_start_token_id": 0,
        "pad_token_id": 0,
        "eos_token_id": 1,
    }


_DUPLICATES = ("lm_head.weight", "encoder.embed_tokens.weight", "decoder.embed_tokens.weight")
_IGNORED = r"EncDecAttention\.relative_attention_bias"

T5 = Family(
    model_type="t5",
    architecture="T5ForConditionalGeneration",
    table=_TABLE,
    read_config=_reader(tied=True),
    write_config=_write,
    duplicates=_DUPLICATES,
    ignored=_IGNORED,
)

MT5 = Family(
    model_type="mt5",
    architecture="MT5ForConditionalGeneration",
    table=_TABLE,
    read_config=_reader(tied=False),
    write_config=_write,
    duplicates=_DUPLICATES,
    ignored=_IGNORED,
)
