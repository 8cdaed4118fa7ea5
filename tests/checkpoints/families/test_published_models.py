"""The config.json of published models gives models of their published sizes; nothing is downloaded.

Values are those of each model's page on the Hub; a misread width, a bias that is not there or an
untied matrix would change the count.
"""

import dataclasses

import pytest

from tlm_jax import models
from tlm_jax.checkpoints import families

LLAMA_7B = {
    "model_type": "llama",
    "vocab_size": 32_000,
    "hidden_size": 4096,
    "intermediate_size": 11_008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": False,
}
T5 = {"d_model": 512, "d_kv": 64, "layer_norm_epsilon": 1e-6, "relative_attention_num_buckets": 32}
T5_1_1 = T5 | {
    "d_ff": 1024,
    "num_layers": 8,
    "num_decoder_layers": 8,
    "num_heads": 6,
    "feed_forward_proj": "gated-gelu",
    "tie_word_embeddings": False,
}
OPT = {"model_type": "opt", "vocab_size": 50_272, "max_position_embeddings": 2048}
GEMMA_CAPS = {"attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0}

PUBLISHED = {
    "T5 small": (
        {"model_type": "t5", "vocab_size": 32_128, "d_ff": 2048, "num_layers": 6, "num_heads": 8}
        | T5,
        60_506_624,
    ),
    "Flan-T5 small": ({"model_type": "t5", "vocab_size": 32_128} | T5_1_1, 76_961_152),
    "mT5 small": ({"model_type": "mt5", "vocab_size": 250_112} | T5_1_1, 300_176_768),
    "BLOOM 560M": (
        {
            "model_type": "bloom",
            "vocab_size": 250_880,
            "n_embed": 1024,
            "n_layer": 24,
            "num_attention_heads": 16,
        },
        559_214_592,
    ),
    "BLOOMZ 7B1": (
        {
            "model_type": "bloom",
            "vocab_size": 250_880,
            "hidden_size": 4096,
            "n_layer": 30,
            "n_head": 32,
        },
        7_069_016_064,
    ),
    "OPT 125M": (
        OPT
        | {
            "hidden_size": 768,
            "ffn_dim": 3072,
            "num_hidden_layers": 12,
            "num_attention_heads": 12,
            "word_embed_proj_dim": 768,
            "do_layer_norm_before": True,
        },
        125_239_296,
    ),
    "OPT 350M": (
        OPT
        | {
            "hidden_size": 1024,
            "ffn_dim": 4096,
            "num_hidden_layers": 24,
            "num_attention_heads": 16,
            "word_embed_proj_dim": 512,
            "do_layer_norm_before": False,
        },
        331_196_416,
    ),
    "GPT-J 6B": (
        {
            "model_type": "gptj",
            "vocab_size": 50_400,
            "n_embd": 4096,
            "n_layer": 28,
            "n_head": 16,
            "n_positions": 2048,
            "rotary_dim": 64,
            "n_inner": None,
            "tie_word_embeddings": False,
        },
        6_050_882_784,
    ),
    "LLaMA 2 7B": (LLAMA_7B, 6_738_415_616),
    "CodeLLaMA 7B": (LLAMA_7B | {"vocab_size": 32_016, "rope_theta": 1e6}, 6_738_546_688),
    "WizardMath 7B": (LLAMA_7B | {"vocab_size": 32_001}, 6_738_423_808),
    "LLaMA 3 8B": (
        LLAMA_7B
        | {
            "vocab_size": 128_256,
            "intermediate_size": 14_336,
            "num_key_value_heads": 8,
            "rope_theta": 5e5,
        },
        8_030_261_248,
    ),
    "LLaMA 3.2 1B": (
        LLAMA_7B
        | {
            "vocab_size": 128_256,
            "hidden_size": 2048,
            "intermediate_size": 8192,
            "num_hidden_layers": 16,
            "num_key_value_heads": 8,
            "head_dim": 64,
            "rope_theta": 5e5,
            "rope_scaling": {
                "rope_type": "llama3",
                "factor": 32.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 8192,
            },
            "tie_word_embeddings": True,
        },
        1_235_814_400,
    ),
    "SmolLM2 135M": (
        LLAMA_7B
        | {
            "vocab_size": 49_152,
            "hidden_size": 576,
            "intermediate_size": 1536,
            "num_hidden_layers": 30,
            "num_attention_heads": 9,
            "num_key_value_heads": 3,
            "rope_theta": 1e5,
            "tie_word_embeddings": True,
        },
        134_515_008,
    ),
    "GPT-2": (
        {
            "model_type": "gpt2",
            "vocab_size": 50_257,
            "n_embd": 768,
            "n_layer": 12,
            "n_head": 12,
            "n_positions": 1024,
        },
        124_439_808,
    ),
    "GPT-Neo 125M": (
        {
            "model_type": "gpt_neo",
            "vocab_size": 50_257,
            "hidden_size": 768,
            "num_layers": 12,
            "num_heads": 12,
            "max_position_embeddings": 2048,
            "attention_types": [[["global", "local"], 6]],
            "window_size": 256,
        },
        125_198_592,
    ),
    "Pythia 70M": (
        {
            "model_type": "gpt_neox",
            "vocab_size": 50_304,
            "hidden_size": 512,
            "intermediate_size": 2048,
            "num_hidden_layers": 6,
            "num_attention_heads": 8,
            "rotary_pct": 0.25,
            "use_parallel_residual": True,
            "tie_word_embeddings": False,
        },
        70_426_624,
    ),
    "Mistral 7B": (
        LLAMA_7B
        | {
            "model_type": "mistral",
            "intermediate_size": 14_336,
            "num_key_value_heads": 8,
            "sliding_window": 4096,
        },
        7_241_732_096,
    ),
    "Qwen2 0.5B": (
        {
            "model_type": "qwen2",
            "vocab_size": 151_936,
            "hidden_size": 896,
            "intermediate_size": 4864,
            "num_hidden_layers": 24,
            "num_attention_heads": 14,
            "num_key_value_heads": 2,
            "rope_theta": 1e6,
            "rms_norm_eps": 1e-6,
            "tie_word_embeddings": True,
        },
        494_032_768,
    ),
    "Qwen2.5 7B": (
        {
            "model_type": "qwen2",
            "vocab_size": 152_064,
            "hidden_size": 3584,
            "intermediate_size": 18_944,
            "num_hidden_layers": 28,
            "num_attention_heads": 28,
            "num_key_value_heads": 4,
            "rope_theta": 1e6,
            "rms_norm_eps": 1e-6,
            "tie_word_embeddings": False,
        },
        7_615_616_512,
    ),
    "Qwen3 0.6B": (
        {
            "model_type": "qwen3",
            "vocab_size": 151_936,
            "hidden_size": 1024,
            "intermediate_size": 3072,
            "num_hidden_layers": 28,
            "num_attention_heads": 16,
            "num_key_value_heads": 8,
            "head_dim": 128,
            "rope_theta": 1e6,
            "rms_norm_eps": 1e-6,
            "tie_word_embeddings": True,
        },
        596_049_920,
    ),
    "Gemma 2B": (
        {
            "model_type": "gemma",
            "vocab_size": 256_000,
            "hidden_size": 2048,
            "intermediate_size": 16_384,
            "num_hidden_layers": 18,
            "num_attention_heads": 8,
            "num_key_value_heads": 1,
            "head_dim": 256,
            "hidden_act": "gelu_pytorch_tanh",
        },
        2_506_172_416,
    ),
    "Gemma 2 2B": (
        {
            "model_type": "gemma2",
            "vocab_size": 256_000,
            "hidden_size": 2304,
            "intermediate_size": 9216,
            "num_hidden_layers": 26,
            "num_attention_heads": 8,
            "num_key_value_heads": 4,
            "head_dim": 256,
            "query_pre_attn_scalar": 256,
            "sliding_window": 4096,
            "hidden_activation": "gelu_pytorch_tanh",
        }
        | GEMMA_CAPS,
        2_614_341_888,
    ),
    "Gemma 3 1B": (
        {
            "model_type": "gemma3_text",
            "vocab_size": 262_144,
            "hidden_size": 1152,
            "intermediate_size": 6912,
            "num_hidden_layers": 26,
            "num_attention_heads": 4,
            "num_key_value_heads": 1,
            "head_dim": 256,
            "query_pre_attn_scalar": 256,
            "rope_theta": 1e6,
            "rope_local_base_freq": 1e4,
            "sliding_window": 512,
            "sliding_window_pattern": 6,
            "hidden_activation": "gelu_pytorch_tanh",
        },
        999_885_952,
    ),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_model_has_its_size(name):
    config, published = PUBLISHED[name]
    family = families.family_of(config, name)
    model = family.read_config(config)
    assert models.num_params(model) == published
    # Each parameter of theirs is one of ours, and none is left over.
    tensors = families.tensors(family, dataclasses.replace(model, scan_layers=False))
    assert len({tensor.hf_name for tensor in tensors}) == len(tensors)
