"""Opens GGUF files of Llama architecture as Hugging Face's LLaMA: configuration, names, tokenizer.

llama.cpp rotates neighbouring values of a head, transformers halves: its converter therefore
interleaves the rows of the query and key projections, which is undone here by a view.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tlm_jax.checkpoints.formats.gguf_file import is_gguf, open_gguf_file
from tlm_jax.checkpoints.formats.gguf_tokenizer import tokenizer_files
from tlm_jax.errors import UserError
from tlm_jax.lazy import LazyArray, selected

_ARCHITECTURE = "llama"
_NAMES = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_LAYER = re.compile(r"blk\.(\d+)\.(\w+)\.(weight|bias)$")
_OUTSIDE = re.compile(r"(\w+)\.(weight|bias)$")
_ROTARY_FACTORS = "rope_freqs.weight"
# What all models with factors have had (Llama 3.1 to 3.3); the file has only what follows from it.
_LLAMA3 = {
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}


class OpenedGguf(NamedTuple):
    """A model in a GGUF file.

    Attributes:
      config: as Hugging Face's config.json has it.
      arrays: by the names of Hugging Face's LLaMA; float32 where they are quantised.
      companions: tokenizer files by name: content, or where they lie.
    """

    config: dict[str, Any]
    arrays: dict[str, LazyArray]
    companions: dict[str, Path | bytes]


def open_gguf(path: Path) -> OpenedGguf:
    """Opens a file; parameters are read, and de-quantised, later.

    A tokenizer.json or tokenizer.model beside the file is preferred to the tokenizer within it.

    Raises:
      UserError: it is damaged, of another architecture, one part of several, or its tokenizer is of
        a kind that cannot be converted and none lies beside it.
    """
    metadata, tensors = open_gguf_file(path)
    found = metadata.get("general.architecture")
    if found != _ARCHITECTURE:
        raise UserError(
            f"{path} is of architecture {found!r}; of GGUF files only {_ARCHITECTURE!r} (LLaMA, "
            "Mistral, SmolLM2) can be read: get this model as a Hugging Face directory"
        )
    parts = metadata.get("split.count", 1)
    if parts not in (0, 1):
        raise UserError(
            f"{path} is one of {parts} parts; join them first: "
            "llama-gguf-split --merge FIRST_PART WHOLE"
        )
    config = _config(metadata, tensors, path)
    arrays: dict[str, LazyArray] = {}
    for name, array in tensors.items():
        if name == _ROTARY_FACTORS:
            continue
        hf_name = _their_name(name)
        if hf_name.endswith(("q_proj.weight", "q_proj.bias")):
            array = _halves(array, config["num_attention_heads"])
        elif hf_name.endswith(("k_proj.weight", "k_proj.bias")):
            array = _halves(array, config["num_key_value_heads"])
        arrays[hf_name] = array
    return OpenedGguf(config, arrays, tokenizer_files(metadata, path))


def _config(
    metadata: Mapping[str, Any], tensors: Mapping[str, LazyArray], path: Path
) -> dict[str, Any]:
    fields = _Fields(metadata, path)
    if fields.number("expert_count", 0):
        raise UserError(f"{path} is a mixture of experts; only dense models can be read")
    heads = fields.number("attention.head_count")
    width = fields.number("embedding_length")
    head_dim = fields.number("attention.key_length", width // heads)
    for name in ("attention.value_length", "rope.dimension_count"):
        if fields.number(name, head_dim) != head_dim:
            raise UserError(
                f"{path} has {_ARCHITECTURE}.{name}={fields.number(name)}; only that of a whole "
                f"head, {head_dim}, can be read"
            )
    embedding = tensors.get("token_embd.weight")
    vocab_size = embedding.shape[0] if embedding is not None else fields.number("vocab_size")
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": vocab_size,
        "hidden_size": width,
        "num_hidden_layers": fields.number("block_count"),
        "num_attention_heads": heads,
        "num_key_value_heads": fields.number("attention.head_count_kv", heads),
        "head_dim": head_dim,
        "intermediate_size": fields.number("feed_forward_length"),
        "hidden_act": "silu",
        "rms_norm_eps": fields.real("attention.layer_norm_rms_epsilon", 1e-5),
        "rope_theta": fields.real("rope.freq_base", 10_000.0),
        "rope_scaling": _rotary_scaling(fields, tensors.get(_ROTARY_FACTORS), head_dim),
        "max_position_embeddings": fields.number("context_length"),
        "tie_word_embeddings": "output.weight" not in tensors,
        "attention_bias": "blk.0.attn_q.bias" in tensors,
        "mlp_bias": "blk.0.ffn_up.bias" in tensors,
        "torch_dtype": "float32",
    }
    for role in ("bos", "eos", "padding"):
        token = metadata.get(f"tokenizer.ggml.{role}_token_id")
        # Files may name a padding token that the model has no row for.
        if type(token) is int and 0 <= token < vocab_size:
            config[f"{role.replace('padding', 'pad')}_token_id"] = token
    # A chat model's turns end otherwise than its texts.
    ends = [config.get("eos_token_id"), metadata.get("tokenizer.ggml.eot_token_id")]
    known = [end for end in dict.fromkeys(ends) if type(end) is int and 0 <= end < vocab_size]
    if len(known) > 1:
        config["eos_token_id"] = known
    return config


class _Fields:
    """The metadata of the architecture."""

    def __init__(self, metadata: Mapping[str, Any], path: Path):
        self._metadata, self._path = metadata, path

    def get(self, name: str, default: Any) -> Any:
        return self._metadata.get(f"{_ARCHITECTURE}.{name}", default)

    def number(self, name: str, default: int | None = None) -> int:
        """Returns an integer that is the same for all layers."""
        found = self.get(name, default)
        if isinstance(found, list) and len(set(found)) == 1:
            found = found[0]
        if type(found) is int and (found > 0 or found == default):
            return found
        problem = "is missing" if found is None else f"is {found!r}; expected one integer above 0"
        raise UserError(f"{self._path}: {_ARCHITECTURE}.{name} {problem}")

    def real(self, name: str, default: float) -> float:
        """Returns a finite number above 0."""
        found = self.get(name, default)
        if type(found) in (int, float) and 0 < found < math.inf:
            return found
        raise UserError(
            f"{self._path}: {_ARCHITECTURE}.{name} is {found!r}; expected a number above 0"
        )

    def refuse(self, what: str) -> UserError:
        return UserError(f"{self._path}: {what} cannot be read; get the Hugging Face model instead")


def _rotary_scaling(
    fields: _Fields, factors: LazyArray | None, head_dim: int
) -> dict[str, Any] | None:
    """Returns `rope_scaling` of config.json."""
    if factors is not None:
        given = factors.read().reshape(-1).astype(np.float64)
        scaling = {"rope_type": "llama3", "factor": float(given.max()), **_LLAMA3}
        base = fields.real("rope.freq_base", 10_000.0)
        if given.size != head_dim // 2 or not np.allclose(
            given, _llama3_factors(scaling, base, head_dim), rtol=1e-4
        ):
            raise fields.refuse("the rotary factors in rope_freqs.weight, not those of Llama 3,")
        return scaling
    kind = fields.get("rope.scaling.type", "none")
    if kind == "none":
        # Files of 2023 have the factor only.
        factor = fields.real("rope.scale_linear", 1.0)
        return None if factor == 1.0 else {"rope_type": "linear", "factor": factor}
    if kind != "linear":
        raise fields.refuse(f"rotary scaling of type {kind!r}")
    return {"rope_type": "linear", "factor": fields.real("rope.scaling.factor", 1.0)}


def _llama3_factors(scaling: Mapping[str, Any], base: float, head_dim: int) -> np.ndarray:
    """Returns what each rotary frequency is divided by.

    1 where a wavelength fits `high_freq_factor` times into the original context, the whole factor
    where it fits less than `low_freq_factor` times, and between them 1 / ((1 - s) / factor + s)
    with s going from 0 to 1 linearly in the number of times.
    """
    frequency = base ** -(np.arange(0, head_dim, 2) / head_dim)
    times = scaling["original_max_position_embeddings"] * frequency / (2 * np.pi)
    low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
    smooth = np.clip((times - low) / (high - low), 0.0, 1.0)
    return 1.0 / ((1.0 - smooth) / scaling["factor"] + smooth)


def _their_name(name: str) -> str:
    """Returns Hugging Face's name; an unknown one stays, and the family refuses it by name."""
    if match := _LAYER.match(name):
        layer, module, leaf = match.groups()
        if module in _NAMES:
            return f"model.layers.{layer}.{_NAMES[module]}.{leaf}"
    elif (match := _OUTSIDE.match(name)) and match[1] in _NAMES:
        return f"{_NAMES[match[1]]}.{match[2]}"
    return name


def _halves(array: LazyArray, num_heads: int) -> LazyArray:
    """Returns the rows of every head with those of even number first, [0, 2, ..., 1, 3, ...]."""
    if not array.shape or array.shape[0] % (2 * num_heads):
        return array  # refused later, by its shape
    rows = np.arange(array.shape[0]).reshape(num_heads, -1, 2)
    return selected(array, rows.swapaxes(1, 2).reshape(-1))


__all__ = ["OpenedGguf", "is_gguf", "open_gguf"]
