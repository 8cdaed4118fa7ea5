"""Architectural choices against Hugging Face's implementations, on tiny random models."""

import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tlm_jax import models, trees

_LAYER_NORM = {"norm": "layer", "norm_bias": True, "norm_epsilon": 1e-5}
_BIASES = {"attention_bias": True, "attention_out_bias": True, "mlp_bias": True}
_TIED = {"tie_embeddings": True, "scale_tied_logits": False}

DECODERS = {
    "llama2_mha": {"norm_epsilon": 1e-5},
    "llama3_gqa": {
        "num_kv_heads": 2,
        "norm_epsilon": 1e-5,
        "rotary_scaling": models.RotaryScaling(
            kind="llama3", factor=8.0, original_max_positions=64
        ),
    },
    "gemma2": {
        "num_kv_heads": 2,
        "head_dim": 32,
        "mlp_activations": ("gelu", "linear"),
        "norm_position": "sandwich",
        "norm_scale_offset": 1.0,
        "embedding_scale": 8.0,
        "attention_scale": 24**-0.5,
        "attention_soft_cap": 5.0,
        "logits_soft_cap": 10.0,
        "attention_window": 8,
        "windowed_layers": (True, False),
        **_TIED,
    },
    "qwen3": {"num_kv_heads": 2, "head_dim": 32, "qk_norm": True, "rotary_base": 1e6, **_TIED},
    "gpt2": {
        "position": "learned",
        "max_positions": 256,
        "mlp_activations": ("gelu",),
        "mlp_dim": 256,
        **_TIED,
        **_BIASES,
        **_LAYER_NORM,
    },
    "opt": {
        "position": "learned",
        "max_positions": 256,
        "position_offset": 2,
        "mlp_activations": ("relu",),
        **_TIED,
        **_BIASES,
        **_LAYER_NORM,
    },
    "gptj": {
        "rotary_dim": 8,
        "rotary_interleaved": True,
        "parallel_residual": True,
        "mlp_activations": ("gelu",),
        "mlp_dim": 256,
        "mlp_bias": True,
        "logits_bias": True,
        **_LAYER_NORM,
    },
    "bloom": {
        "position": "alibi",
        "embedding_norm": True,
        "mlp_activations": ("gelu",),
        "mlp_dim": 256,
        **_TIED,
        **_BIASES,
        **_LAYER_NORM,
    },
}

# Hugging Face's names, without `.weight`, and ours. Kernels of linear layers are transposed.
_RENAMES = [
    (r"^(?:transformer|model(?:\.decoder)?)\.", ""),
    (r"^(?:h|layers)\.(\d+)\.", r"decoder.layers_\1."),
    (r"^(?:embed_tokens|wte|word_embeddings)$", "decoder.token_embedder.embedding"),
    (r"^(?:embed_positions|wpe)$", "decoder.position_embedder.embedding"),
    (r"^word_embeddings_layernorm\b", "decoder.embedding_norm"),
    (r"^(?:norm|ln_f|final_layer_norm)\b", "decoder.decoder_norm"),
    (r"^lm_head\b", "decoder.logits_dense"),
    (r"\.(?:input_layernorm|ln_1|self_attn_layer_norm)\b", ".pre_self_attention_layer_norm"),
    (r"\.(?:post_attention_layernorm|ln_2|final_layer_norm)\b", ".pre_mlp_layer_norm"),
    (r"\.(?:attn|self_attn)\.", ".self_attention."),
    (r"\.q_proj\b", ".query"),
    (r"\.k_proj\b", ".key"),
    (r"\.v_proj\b", ".value"),
    (r"\.self_attention\.(?:o_proj|out_proj|dense|c_proj)\b", ".self_attention.out"),
    (r"\.q_norm\b", ".query_norm"),
    (r"\.k_norm\b", ".key_norm"),
    (r"\.mlp\.gate_proj\b", ".mlp.wi_0"),
    (r"\.mlp\.up_proj\b", ".mlp.wi_1"),
    (r"\.(?:mlp\.(?:c_fc|fc_in|dense_h_to_4h)|fc1)\b", ".mlp.wi"),
    (r"\.(?:mlp\.(?:down_proj|c_proj|fc_out|dense_4h_to_h)|fc2)\b", ".mlp.wo"),
]

_T5_RENAMES = [
    (r"^shared$", "token_embedder.embedding"),
    (r"^lm_head\b", "decoder.logits_dense"),
    (r"^(encoder|decoder)\.final_layer_norm", r"\1.\1_norm"),
    (r"\.block\.0\.layer\.0\.SelfAttention\.relative_attention_bias", ".relpos_bias.rel_embedding"),
    (r"\.block\.(\d+)\.", r".layers_\1."),
    (r"^(encoder\..*)\.layer\.0\.layer_norm", r"\1.pre_attention_layer_norm"),
    (r"^(decoder\..*)\.layer\.0\.layer_norm", r"\1.pre_self_attention_layer_norm"),
    (r"^(encoder\..*)\.layer\.1\.layer_norm", r"\1.pre_mlp_layer_norm"),
    (r"^(decoder\..*)\.layer\.1\.layer_norm", r"\1.pre_cross_attention_layer_norm"),
    (r"\.layer\.2\.layer_norm", ".pre_mlp_layer_norm"),
    (r"^(encoder\..*)\.layer\.\d\.SelfAttention", r"\1.attention"),
    (r"^(decoder\..*)\.layer\.\d\.SelfAttention", r"\1.self_attention"),
    (r"\.layer\.\d\.EncDecAttention", ".encoder_decoder_attention"),
    (r"\.layer\.\d\.DenseReluDense", ".mlp"),
    (r"\.q$", ".query"),
    (r"\.k$", ".key"),
    (r"\.v$", ".value"),
    (r"\.o$", ".out"),
]


def _read_safetensors(path):
    """Eight bytes of header length, a JSON header, and the arrays (all float32 here)."""
    content = path.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    arrays = {}
    for name, entry in json.loads(content[8:start]).items():
        if name != "__metadata__":
            first, last = entry["data_offsets"]
            data = np.frombuffer(content[start + first : start + last], np.float32)
            arrays[name] = data.reshape(entry["shape"])
    return arrays


def _translate(arrays, renames, *, transposed=True):
    flat = {}
    for name, array in arrays.items():
        base, _, kind = name.rpartition(".")
        for pattern, replacement in renames:
            base = re.sub(pattern, replacement, base)
        if base.endswith("embedding"):
            flat[base] = array.T if base.endswith("rel_embedding") else array
        elif kind == "bias":
            flat[f"{base}.bias"] = array
        elif array.ndim == 1:
            flat[f"{base}.scale"] = array
        else:
            flat[f"{base}.kernel"] = array.T if transposed else array
    return {name.replace(".", "/"): array for name, array in flat.items()}


def _gemma_name(name):
    """Gemma's post_attention_layernorm is what it says, and not LLaMA's pre-norm of the MLP."""
    name = name.replace("post_attention_layernorm", "post_self_attention_layer_norm")
    return re.sub(r"(pre|post)_feedforward_layernorm", r"\1_mlp_layer_norm", name)


def _separate_fused_heads(family, flat, head_dim):
    """GPT-2 stores [query | key | value]; BLOOM the three of each head in turn."""
    separate = {}
    for name, array in flat.items():
        if not re.search(r"c_attn|query_key_value", name):
            separate[name] = array
            continue
        if family == "bloom":
            array = array.reshape(*array.shape[:-1], -1, 3, head_dim)
            array = np.moveaxis(array, -2, -3)
        parts = array.reshape(*array.shape[: -3 if family == "bloom" else -1], 3, -1)
        for index, part in enumerate(("query", "key", "value")):
            target = re.sub(r"c_attn|query_key_value", part, name)
            separate[target] = parts[..., index, :]
    return separate


@pytest.mark.parametrize("family", DECODERS)
def test_decoder_only(family, shared_dir, logits):
    folder = shared_dir / "fixtures" / "hf" / family
    sizes = {"vocab_size": 256, "embed_dim": 64, "num_heads": 4, "head_dim": 16, "mlp_dim": 128}
    config = models.DecoderOnlyConfig(num_layers=2, **(sizes | DECODERS[family]))
    arrays = {}
    for shard in sorted(folder.glob("*.safetensors")):
        arrays |= _read_safetensors(shard)
    if family == "gemma2":
        arrays = {_gemma_name(name): array for name, array in arrays.items()}
    flat = _translate(arrays, _RENAMES, transposed=family != "gpt2")
    flat = _separate_fused_heads(family, flat, config.head_dim)
    params = models.to_layout(trees.unflatten(flat), config)
    reference = np.load(folder / "reference.npz")
    for side in ("", "left_"):
        mask = reference[f"{side}attention_mask"]
        batch = {
            "decoder_input_tokens": jnp.asarray(reference[f"{side}input_ids"], jnp.int32),
            "decoder_target_tokens": jnp.asarray(reference[f"{side}input_ids"], jnp.int32),
            "decoder_segment_ids": jnp.asarray(mask, jnp.int32),
            "decoder_positions": jnp.asarray(reference[f"{side}position_ids"], jnp.int32),
        }
        got = np.asarray(logits(params, batch, config=config))
        expected = reference[f"{side}logits"]
        np.testing.assert_allclose(got[mask == 1], expected[mask == 1], atol=1e-4)


@pytest.mark.parametrize(
    ("family", "changes"),
    [
        ("t5_v1_0", {"mlp_activations": ("relu",), "tie_embeddings": True}),
        ("t5_v1_1", {"head_dim": 24, "num_encoder_layers": 3}),
    ],
)
def test_t5(family, changes, shared_dir, logits):
    folder = shared_dir / "fixtures" / "hf" / family
    sizes = {"vocab_size": 256, "embed_dim": 64, "num_heads": 4, "head_dim": 16, "mlp_dim": 128}
    layers = {"num_encoder_layers": 2, "num_decoder_layers": 2}
    config = models.EncoderDecoderConfig(**(sizes | layers | changes))
    arrays = _read_safetensors(folder / "model.safetensors")
    params = models.to_layout(trees.unflatten(_translate(arrays, _T5_RENAMES)), config)
    reference = np.load(folder / "reference.npz")
    labels = reference["labels"]
    real = labels > 0
    batch = {
        "encoder_input_tokens": jnp.asarray(
            reference["input_ids"] * reference["attention_mask"], jnp.int32
        ),
        "decoder_input_tokens": jnp.asarray(reference["decoder_input_ids"], jnp.int32),
        "decoder_target_tokens": jnp.asarray(np.where(real, labels, 0), jnp.int32),
    }
    got = np.asarray(logits(params, batch, config=config))
    np.testing.assert_allclose(got[real], reference["logits"][real], atol=1e-4)
    encoded = jax.jit(models.encode, static_argnums=2)(params, batch, config)
    kept = reference["attention_mask"] == 1
    expected = reference["encoder_last_hidden_state"]
    np.testing.assert_allclose(np.asarray(encoded)[kept], expected[kept], atol=1e-4)
    # Distances beyond 128 share a bucket.
    long = {
        "encoder_input_tokens": jnp.asarray(reference["long_input_ids"], jnp.int32),
        "decoder_target_tokens": jnp.asarray(reference["long_labels"], jnp.int32),
    }
    long["decoder_input_tokens"] = jnp.pad(long["decoder_target_tokens"], ((0, 0), (1, 0)))[:, :-1]
    got = logits(params, long, config=config)
    np.testing.assert_allclose(got[:, -8:], reference["long_logits_last8"], atol=1e-4)
